//! Questions to people.

use jb_model::approval::{ApprovalStatus, Approvers};
use jb_model::{ArtifactId, BuildId, BuildStatus, PlanId, TeamId};
use jb_store::{
    Answered, ApprovalAnswer, ApprovalArtifact, ApprovalRecord, Change, NewApproval, Store,
    Visible, build_changed,
};

use crate::world::{World, at, world};

conformance![questions_and_answers, two_answers_at_once, the_end_of_a_build];

async fn ask(store: &Store, build: BuildId, plan: &str, quorum: u32) -> ApprovalRecord {
    ask_about(store, build, (plan, ""), quorum).await
}

async fn ask_about(
    store: &Store,
    build: BuildId,
    (plan, call): (&str, &str),
    quorum: u32,
) -> ApprovalRecord {
    let approvers =
        Approvers { roles: vec!["member".into()], groups: vec!["gh:x".into()], users: vec![] };
    let artifacts = [ApprovalArtifact { id: ArtifactId(7), name: "made".into() }];
    let new = NewApproval {
        build,
        plan: &PlanId::new(plan),
        call,
        name: "release",
        message: "Ship?",
        artifacts: &artifacts,
        approvers: &approvers,
        quorum,
        asked_by: Some("me"),
        expires_at: Some(at(100)),
    };
    store.ask_approval(new, at(20)).await.unwrap()
}

fn answer(person: &str, approves: bool, when: i64) -> ApprovalAnswer {
    ApprovalAnswer {
        person: format!("local:{person}"),
        name: person.to_owned(),
        approves,
        comment: "because".to_owned(),
        at: at(when),
    }
}

async fn started(world: &World) -> BuildId {
    world.started("ship", &[]).await.id
}

async fn questions_and_answers(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = started(&world).await;
    let asked = ask(store, build, "3", 2).await;
    assert_eq!(ask(store, build, "3", 9).await, asked, "a step asks once");
    assert_eq!((asked.quorum, asked.status), (2, ApprovalStatus::Waiting));
    assert_eq!(asked.pipeline.as_ref().unwrap().name, "p");
    assert_eq!((asked.job_name.as_deref(), asked.asked_by.as_deref()), (Some("ship"), Some("me")));
    assert_eq!(asked.artifacts[0].name, "made");
    assert_eq!(asked.approvers.groups, ["gh:x"]);

    let mut changes = store.subscribe();
    let ann = answer("ann", true, 30);
    let Answered::Counted(counted) = store.answer_approval(asked.id, &ann).await.unwrap() else {
        panic!("not counted")
    };
    assert_eq!((counted.status, counted.answers.as_slice()), (ApprovalStatus::Waiting, &[ann][..]));
    build_changed(&mut changes, build).await;
    let again = store.answer_approval(asked.id, &answer("ann", true, 31)).await.unwrap();
    assert_eq!(again, Answered::Counted(counted));
    let other = store.answer_approval(asked.id, &answer("ann", false, 31)).await.unwrap();
    assert!(matches!(other, Answered::Contradicts(_)));
    let late = store.answer_approval(asked.id, &answer("bob", true, 100)).await.unwrap();
    assert!(matches!(late, Answered::Over(_)));
    store.answer_approval(asked.id, &answer("bob", true, 99)).await.unwrap();
    let decided = store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!((decided.status, decided.ended_at), (ApprovalStatus::Approved, Some(at(99))));
    let ended = store.end_approval(asked.id, ApprovalStatus::Expired, at(100)).await.unwrap();
    assert_eq!(ended, decided, "what is decided stays so");

    let of_call = ask_about(store, build, ("3", "a1"), 1).await;
    assert_ne!(of_call.id, asked.id, "about each call it asks once");
    assert_eq!(ask_about(store, build, ("3", "a1"), 9).await, of_call);
    store.end_approval(of_call.id, ApprovalStatus::Withdrawn, at(30)).await.unwrap();

    let second = ask(store, build, "4", 0).await;
    let visible = Visible::TeamsAndPublic(vec![world.team]);
    assert_eq!(store.waiting_approvals(&visible, 9).await.unwrap(), std::slice::from_ref(&second));
    let others = Visible::TeamsAndPublic(vec![TeamId(99)]);
    assert_eq!(store.waiting_approvals(&others, 9).await.unwrap(), []);
    store.answer_approval(second.id, &answer("ann", false, 40)).await.unwrap();
    let all = store.approvals_of_build(build).await.unwrap();
    let statuses: Vec<_> = all.iter().map(|asked| asked.status).collect();
    use ApprovalStatus::{Approved, Rejected, Withdrawn};
    assert_eq!(statuses, [Approved, Withdrawn, Rejected]);
    assert_eq!((all[0].answers.len(), all[2].answers[0].approves), (2, false));
}

async fn two_answers_at_once(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = started(&world).await;
    let asked = ask(store, build, "3", 2).await;
    let (ann, bob) = (answer("ann", true, 30), answer("bob", true, 30));
    let (one, two) =
        tokio::join!(store.answer_approval(asked.id, &ann), store.answer_approval(asked.id, &bob));
    assert!(matches!((one, two), (Ok(Answered::Counted(_)), Ok(Answered::Counted(_)))));
    let decided = store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!(decided.status, ApprovalStatus::Approved);
}

async fn the_end_of_a_build(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = started(&world).await;
    let asked = ask(store, build, "3", 1).await;
    let mut changes = store.subscribe();
    store.finish_build(build, BuildStatus::Aborted, None, at(50)).await.unwrap();
    assert!(std::iter::from_fn(|| changes.try_recv().ok()).any(|it| it == Change::Build(build)));
    let ended = store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.ended_at), (ApprovalStatus::Withdrawn, Some(at(50))));
    let late = store.answer_approval(asked.id, &answer("ann", true, 51)).await.unwrap();
    assert!(matches!(late, Answered::Over(_)));
}
