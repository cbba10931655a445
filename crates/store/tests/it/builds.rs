//! Creating, listing, starting and ending builds, and what is kept of them.

use jb_model::{BuildId, BuildStatus, Timestamp};
use jb_store::{
    BuildRecord, Change, Error, Fence, NewCheckBuild, Page, Paged, RetentionBuild, Store, Visible,
};
use serde_json::json;

use crate::world::{Checked, at, pipeline_config, save, version, world};

conformance![
    names_and_records,
    one_pending_build_by_the_scheduler,
    reruns,
    checks,
    a_build_can_go_with_its_pipeline_or_team,
    starting_is_claimed_once,
    serial_groups_are_shared,
    aborting,
    ending_takes_the_lease_away,
    inputs_and_outputs,
    pages,
    pages_by_time,
    who_sees_which_builds,
    logs_are_reaped,
    old_checks_are_deleted
];

async fn names_and_records(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await.id;
    let first = store.create_job_build(unit, Some("me"), at(5)).await.unwrap();
    assert_eq!(
        (first.name.as_str(), first.status, first.manual),
        ("1", BuildStatus::Pending, true)
    );
    assert_eq!(first.created_by.as_deref(), Some("me"));
    assert_eq!((first.job_name.as_deref(), first.job_public), (Some("unit"), true));
    assert_eq!(first.pipeline.as_ref().unwrap().name, "p");
    assert_eq!(store.create_job_build(unit, None, at(5)).await.unwrap().name, "2");
    let found = store.build_by_name(unit, "1").await.unwrap().unwrap();
    assert_eq!(found, store.build(first.id).await.unwrap().unwrap());
    assert_eq!(store.build_plan(first.id).await.unwrap(), None);

    let plan = json!({"id": "1", "task": {}});
    let alone = store.create_started_build(world.team, None, &plan, None, at(6)).await.unwrap();
    let inside = store
        .create_started_build(world.team, Some(world.pipeline), &plan, None, at(7))
        .await
        .unwrap();
    assert_eq!((alone.name.as_str(), inside.name.as_str()), ("1", "2"));
    assert_eq!((alone.status, alone.start_time), (BuildStatus::Started, Some(at(6))));
    assert_eq!((alone.pipeline, inside.pipeline.map(|p| p.id)), (None, Some(world.pipeline)));
    assert!(alone.has_plan);
    assert_eq!(store.build_plan(alone.id).await.unwrap(), Some(plan));
    store.set_build_comment(alone.id, "why").await.unwrap();
    assert_eq!(store.build(alone.id).await.unwrap().unwrap().comment, "why");
    let missing = store.set_build_comment(BuildId(999), "why").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

async fn one_pending_build_by_the_scheduler(store: Store) {
    let world = world(store).await;
    let unit = world.job("unit").await.id;
    let ensure = async || world.store.ensure_pending_build(unit, at(5)).await.unwrap();
    let (first, created) = ensure().await;
    assert!(created && !first.manual);
    assert_eq!(ensure().await, (first.clone(), false));
    world.store.abort_build(first.id, at(6)).await.unwrap();
    let (second, created) = ensure().await;
    assert!(created && second.id != first.id);
    world.store.create_job_build(unit, None, at(6)).await.unwrap();
    let pending = world.store.pending_builds(unit).await.unwrap();
    let names: Vec<_> = pending.iter().map(|next| next.build.name.as_str()).collect();
    assert_eq!(names, ["1", "2", "3"]);

    // Many at once still make one.
    world.store.finish_build(second.id, BuildStatus::Aborted, None, at(7)).await.unwrap();
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move { store.ensure_pending_build(unit, at(8)).await.unwrap() })
        })
        .collect();
    let mut made = 0;
    for task in racing {
        made += usize::from(task.await.unwrap().1);
    }
    assert_eq!(made, 1);
}

async fn reruns(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let first = world.ended("unit", &[], BuildStatus::Failed).await;
    let second = world.ended("unit", &[], BuildStatus::Failed).await;
    let again = store.create_rerun(first.id, Some("me"), at(30)).await.unwrap();
    let third = store.create_rerun(again.id, None, at(31)).await.unwrap();
    assert_eq!((again.name.as_str(), third.name.as_str()), ("1.1", "1.2"));
    assert_eq!((third.rerun_number, third.rerun_of.as_ref().unwrap().id), (2, first.id));
    assert_eq!(third.rerun_of.unwrap().name, "1");
    let pending = store.pending_builds(world.job("unit").await.id).await.unwrap();
    assert!(pending.iter().all(|next| next.is_rerun));
    let page = store.job_builds(world.job("unit").await.id, Page::newest(10)).await.unwrap();
    assert_eq!(names(&page), ["2", "1.2", "1.1", "1"]);
    let alone = store.create_rerun(world.one_off().await, None, at(32)).await;
    assert!(matches!(alone, Err(Error::NotFound { .. })));
    assert_eq!(second.name, "2");
}

async fn checks(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let resource = world.resource("src").await.id;
    let plan = json!({"check": {}});
    let check = NewCheckBuild { resource, manual: false, created_by: None, plan: Some(&plan) };
    let build = store.create_check_build(check, at(5)).await.unwrap().unwrap();
    assert_eq!((build.name.as_str(), build.resource_name.as_deref()), ("check", Some("src")));
    assert_eq!((build.status, build.job_id), (BuildStatus::Started, None));
    assert_eq!(store.create_check_build(check, at(5)).await.unwrap(), None);
    let manual = NewCheckBuild { manual: true, created_by: Some("me"), plan: None, ..check };
    let other = store.create_check_build(manual, at(5)).await.unwrap().unwrap();
    assert_eq!((other.status, other.manual), (BuildStatus::Pending, true));
    assert_eq!(store.pending_checks(10).await.unwrap(), std::slice::from_ref(&other));
    assert!(store.start_build(other.id, &plan, &[], &[], at(6)).await.unwrap());
    assert_eq!(store.pending_checks(10).await.unwrap(), []);
    for build in [build.id, other.id] {
        store.finish_build(build, BuildStatus::Succeeded, None, at(6)).await.unwrap();
    }
    assert!(store.create_check_build(check, at(7)).await.unwrap().is_some());
    // What the server checks by itself is in no list.
    let newest = Page::newest(10);
    for list in [
        store.all_builds(&Visible::All, newest).await.unwrap(),
        store.team_builds(world.team, newest).await.unwrap(),
        store.pipeline_builds(world.pipeline, newest).await.unwrap(),
        store.pipeline_builds_between(world.pipeline, newest).await.unwrap(),
    ] {
        let ids: Vec<_> = list.items.iter().map(|listed| listed.id).collect();
        assert_eq!((ids, list.older), (vec![other.id], None));
    }
    assert!(store.build(build.id).await.unwrap().is_some());
}

async fn a_build_can_go_with_its_pipeline_or_team(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.started("unit", &[]).await.id;
    let ended = world.started("ship", &[]).await.id;
    store.finish_build(ended, BuildStatus::Succeeded, None, at(12)).await.unwrap();
    let (team, _) = store.save_team("dev", &json!({}), at(13)).await.unwrap();
    let other = store.create_started_build(team.id, None, &json!({}), None, at(14)).await.unwrap();
    let mut changes = store.subscribe();
    assert!(store.destroy_pipeline(world.pipeline).await.unwrap());
    assert_eq!(changes.recv().await.unwrap(), Change::Build(build), "its driver is to hear of it");
    assert_eq!(changes.recv().await.unwrap(), Change::CheckRequested);
    assert!(store.destroy_team(team.id).await.unwrap());
    assert_eq!(changes.recv().await.unwrap(), Change::Build(other.id));
    for gone in [build, ended, other.id] {
        assert_eq!(store.build(gone).await.unwrap(), None);
        for from in [0, 7] {
            let position = Some(jb_store::Position { key: "a", from, upto: 9 });
            let late = store.append_events(gone, &["{}".into()], None, position).await;
            assert!(matches!(late, Err(Error::NotFound { .. })), "{late:?}");
        }
    }
}

async fn starting_is_claimed_once(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await.id;
    store.save_next_inputs(unit, &[], &[], true, false).await.unwrap();
    let first = store.create_job_build(unit, None, at(5)).await.unwrap().id;
    let second = store.create_job_build(unit, None, at(5)).await.unwrap().id;
    let plan = json!({"id": "1"});
    let start = async |build| store.start_build(build, &plan, &[], &[], at(6)).await.unwrap();
    assert!(!start(second).await, "the first is before it");
    assert!(
        !store.may_start(second, 1).await.unwrap() && store.may_start(second, 0).await.unwrap()
    );
    assert!(store.may_start(first, 1).await.unwrap());
    let mut changes = store.subscribe();
    assert!(start(first).await);
    let heard = [changes.recv().await.unwrap(), changes.recv().await.unwrap()];
    assert_eq!(heard, [Change::Build(first), Change::BuildQueued]);
    assert!(!start(first).await, "it runs already");
    assert!(!start(second).await, "the job is serial");
    assert_eq!(store.running_in_groups(unit).await.unwrap(), 1);
    store.finish_build(first, BuildStatus::Succeeded, None, at(7)).await.unwrap();
    assert!(start(second).await);
    let missing = store.start_build(BuildId(999), &plan, &[], &[], at(6)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

async fn serial_groups_are_shared(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let config = json!({"jobs": [
        {"name": "a", "serial_groups": ["g"], "plan": []},
        {"name": "b", "serial_groups": ["g", "h"], "plan": []},
        {"name": "c", "plan": []},
    ]});
    let pipeline = save(store, world.team, "groups", &config).await;
    let mut builds = Vec::new();
    for name in ["a", "b", "c"] {
        let job = store.job_by_name(pipeline, name).await.unwrap().unwrap().id;
        builds.push((job, store.create_job_build(job, None, at(5)).await.unwrap().id));
    }
    let [(a, build_a), (b, build_b), (_, build_c)] = builds[..] else { panic!("three jobs") };
    let start = async |id| store.start_build(id, &json!({}), &[], &[], at(6)).await.unwrap();
    assert!(start(build_c).await, "a job without limit needs no slot");
    store.save_next_inputs(b, &[], &[], true, false).await.unwrap();
    // The older build of `a` does not block while its inputs are not determined, or while `a` is paused.
    assert!(store.may_start(build_b, 1).await.unwrap());
    store.save_next_inputs(a, &[], &[], true, false).await.unwrap();
    assert!(!store.may_start(build_b, 1).await.unwrap());
    store.pause_job(a, "me", at(6)).await.unwrap();
    assert!(start(build_b).await);
    store.unpause_job(a, at(7)).await.unwrap();
    assert!(!start(build_a).await, "the group is busy");
    assert_eq!(store.running_in_groups(a).await.unwrap(), 1);
    store.finish_build(build_b, BuildStatus::Errored, None, at(8)).await.unwrap();
    assert!(start(build_a).await);
}

async fn aborting(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await.id;
    store.save_next_inputs(unit, &[], &[], true, false).await.unwrap();
    let pending = store.create_job_build(unit, None, at(5)).await.unwrap().id;
    for due in store.jobs_to_schedule(10).await.unwrap() {
        store.set_scheduled(due.job, due.requested).await.unwrap();
    }
    assert!(store.abort_build(pending, at(6)).await.unwrap());
    assert!(store.build(pending).await.unwrap().unwrap().aborted);
    assert_eq!(store.jobs_to_schedule(10).await.unwrap()[0].job, unit);
    assert!(!store.start_build(pending, &json!({}), &[], &[], at(6)).await.unwrap());
    assert!(store.finish_build(pending, BuildStatus::Aborted, None, at(7)).await.unwrap());
    assert!(!store.abort_build(pending, at(8)).await.unwrap());
    let nonsense = store.finish_build(pending, BuildStatus::Started, None, at(7)).await;
    assert!(matches!(nonsense, Err(Error::Refused { .. })));
}

async fn ending_takes_the_lease_away(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let minute = std::time::Duration::from_secs(60);
    let build = world.one_off().await;
    let lease = store.acquire_lease(build, "a", minute, at(10)).await.unwrap().unwrap();
    let stale = Some(Fence(lease.fence.0 - 1));
    let lost = store.finish_build(build, BuildStatus::Failed, stale, at(11)).await;
    assert!(matches!(lost, Err(Error::FenceLost { .. })));
    // Its driver may still say something after the end ...
    let ended = store.finish_build(build, BuildStatus::Failed, Some(lease.fence), at(11)).await;
    assert!(ended.unwrap());
    store.append_events(build, &["{}".into()], Some(lease.fence), None).await.unwrap();
    // ... but not when someone else ended it.
    let build = world.one_off().await;
    let lease = store.acquire_lease(build, "a", minute, at(10)).await.unwrap().unwrap();
    store.finish_build(build, BuildStatus::Aborted, None, at(11)).await.unwrap();
    let lost = store.append_events(build, &["{}".into()], Some(lease.fence), None).await;
    assert!(matches!(lost, Err(Error::FenceLost { .. })));
}

async fn inputs_and_outputs(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (src, out) = (world.checked("src", &["a", "b"]).await, world.checked("out", &["o"]).await);
    let build = world.started("unit", &[(&src, 1)]).await.id;
    store.save_build_input(build, "more", out.resource, out.ids[0], false).await.unwrap();
    let inputs: Vec<_> = store
        .build_inputs(build)
        .await
        .unwrap()
        .into_iter()
        .map(|i| (i.name, i.resource_name, i.pipeline, i.version, i.first_occurrence))
        .collect();
    assert_eq!(
        inputs,
        [
            ("in".to_owned(), "src".to_owned(), world.pipeline, version("b"), true),
            ("more".to_owned(), "out".to_owned(), world.pipeline, version("o"), false)
        ]
    );
    let made = store.save_put_version(out.scope, &version("new"), &[]).await.unwrap();
    store.save_build_output(build, "out", out.resource, made).await.unwrap();
    store.save_build_output(build, "out", out.resource, made).await.unwrap();
    let outputs = store.build_outputs(build).await.unwrap();
    let outputs: Vec<_> = outputs.into_iter().map(|o| (o.name, o.version)).collect();
    assert_eq!(outputs, [("out".to_owned(), version("new"))]);
    let ids = |builds: Vec<BuildRecord>| builds.into_iter().map(|b| b.id).collect::<Vec<_>>();
    let used = store.builds_with_input(src.resource, src.ids[1]).await.unwrap();
    assert_eq!(ids(used), [build]);
    assert_eq!(ids(store.builds_with_input(src.resource, src.ids[0]).await.unwrap()), []);
    assert_eq!(ids(store.builds_with_output(out.resource, made).await.unwrap()), [build]);
    let unknown =
        store.save_build_output(build, "out", out.resource, jb_model::VersionId(999)).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

fn names(page: &Paged<BuildRecord>) -> Vec<&str> {
    page.items.iter().map(|build| build.name.as_str()).collect()
}

async fn pages(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await.id;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(store.create_job_build(unit, None, at(5)).await.unwrap().id.0);
        store.create_job_build(world.job("ship").await.id, None, at(5)).await.unwrap();
    }
    let page = |from, to, limit| Page { from, to, limit };
    let newest = store.job_builds(unit, page(None, None, 2)).await.unwrap();
    assert_eq!(names(&newest), ["5", "4"]);
    assert_eq!((newest.older, newest.newer), (Some(ids[2]), None));
    let older = store.job_builds(unit, page(None, newest.older, 2)).await.unwrap();
    assert_eq!(names(&older), ["3", "2"]);
    assert_eq!((older.older, older.newer), (Some(ids[0]), Some(ids[3])));
    let newer = store.job_builds(unit, page(older.newer, None, 1)).await.unwrap();
    assert_eq!(names(&newer), ["4"]);
    let both = store.job_builds(unit, page(Some(ids[1]), Some(ids[3]), 9)).await.unwrap();
    assert_eq!(names(&both), ["4", "3", "2"]);
    let empty = store.job_builds(unit, page(Some(999_999), None, 9)).await.unwrap();
    assert_eq!(empty, Paged { items: vec![], older: None, newer: None });
    let all = store.pipeline_builds(world.pipeline, Page::newest(100)).await.unwrap();
    assert_eq!(names(&all), ["5", "5", "4", "4", "3", "3", "2", "2", "1", "1"]);
    assert_eq!(all, store.team_builds(world.team, Page::newest(100)).await.unwrap());
    assert_eq!(all, store.all_builds(&Visible::All, Page::newest(100)).await.unwrap());
}

async fn pages_by_time(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let plan = json!({});
    for second in [10, 20, 30] {
        let pipeline = Some(world.pipeline);
        store.create_started_build(world.team, pipeline, &plan, None, at(second)).await.unwrap();
    }
    let page = |from, to| Page { from, to, limit: 10 };
    let found = store.team_builds_between(world.team, page(Some(20), Some(30))).await.unwrap();
    assert_eq!(names(&found), ["3", "2"]);
    let found = store.pipeline_builds_between(world.pipeline, page(None, Some(20))).await.unwrap();
    assert_eq!(names(&found), ["2", "1"]);
    let found = store.all_builds_between(&Visible::All, page(Some(21), None)).await.unwrap();
    assert_eq!(names(&found), ["3"]);
    let build = world.started("unit", &[]).await;
    let unit = world.job("unit").await.id;
    let found = store.job_builds_between(unit, page(Some(11), Some(11))).await.unwrap();
    assert_eq!(found.items, [build]);
    // A bound is an instant, so what starts later in that second is after it.
    let later = Timestamp(at(40).0 + 1);
    store.create_started_build(world.team, None, &plan, None, later).await.unwrap();
    let found = store.team_builds_between(world.team, page(Some(31), Some(40))).await.unwrap();
    assert_eq!(names(&found), [""; 0]);
    let found = store.team_builds_between(world.team, page(Some(40), Some(41))).await.unwrap();
    assert_eq!(names(&found), ["4"]);
}

async fn who_sees_which_builds(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (dev, _) = store.save_team("dev", &json!({}), at(1)).await.unwrap();
    let open = save(store, dev.id, "open", &pipeline_config()).await;
    store.set_pipeline_public(open, true).await.unwrap();
    let plan = json!({});
    let main = world.one_off().await;
    let public =
        store.create_started_build(dev.id, Some(open), &plan, None, at(1)).await.unwrap().id;
    let private = store.create_started_build(dev.id, None, &plan, None, at(1)).await.unwrap().id;
    let seen = async |visible: &Visible| -> Vec<BuildId> {
        let page = store.all_builds(visible, Page::newest(10)).await.unwrap();
        page.items.into_iter().map(|build| build.id).collect()
    };
    assert_eq!(seen(&Visible::All).await, [private, public, main]);
    assert_eq!(seen(&Visible::TeamsAndPublic(vec![])).await, [public]);
    assert_eq!(seen(&Visible::TeamsAndPublic(vec![world.team])).await, [public, main]);
}

async fn logs_are_reaped(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await.id;
    let first = world.ended("unit", &[], BuildStatus::Failed).await.id;
    let second = world.ended("unit", &[], BuildStatus::Succeeded).await.id;
    store.append_events(first, &["{}".into()], None, None).await.unwrap();
    assert_eq!(store.jobs_with_logs().await.unwrap(), [unit]);
    assert_eq!(store.undrained_builds(10).await.unwrap(), [first, second]);
    store.set_drained(first).await.unwrap();
    assert_eq!(store.undrained_builds(10).await.unwrap(), [second]);
    let kept = |id, status, drained| RetentionBuild { id, status, end_time: Some(at(20)), drained };
    assert_eq!(
        store.builds_with_logs(unit, 10).await.unwrap(),
        [kept(second, BuildStatus::Succeeded, false), kept(first, BuildStatus::Failed, true)]
    );
    let running = world.started("unit", &[]).await.id;
    store.delete_logs(&[first, running], at(50)).await.unwrap();
    assert_eq!(store.events(first, 0, 1_000).await.unwrap(), []);
    let reaped = async |id| store.build(id).await.unwrap().unwrap().reap_time;
    assert_eq!((reaped(first).await, reaped(running).await), (Some(at(50)), None));
    assert_eq!(world.job("unit").await.first_logged_build, Some(second));
}

async fn old_checks_are_deleted(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let Checked { resource, scope, .. } = world.checked("src", &[]).await;
    let mut ids = Vec::new();
    for second in [10, 20, 30] {
        let check = NewCheckBuild { resource, manual: true, created_by: None, plan: None };
        let build = store.create_check_build(check, at(second)).await.unwrap().unwrap().id;
        store.start_check(scope, Some(build), at(0), at(second)).await.unwrap();
        store.finish_check(scope, true, None, at(second)).await.unwrap();
        store.finish_build(build, BuildStatus::Succeeded, None, at(second)).await.unwrap();
        ids.push(build);
    }
    let last = world.resource("src").await.last_check_build.unwrap();
    assert_eq!((last.id, last.status), (ids[2], BuildStatus::Succeeded));
    assert_eq!(store.delete_old_checks(at(40), 10).await.unwrap(), 2);
    assert_eq!(store.delete_old_checks(at(40), 10).await.unwrap(), 0);
    assert!(store.build(ids[2]).await.unwrap().is_some());
}
