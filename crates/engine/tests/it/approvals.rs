//! Builds that ask people.

use std::time::Duration;

use jb_model::approval::ApprovalStatus;
use jb_model::{BuildId, BuildStatus};
use jb_store::{Answered, ApprovalAnswer, ApprovalRecord, Visible};

use crate::server::Server;

const PIPELINE: &str = r#"
var_sources: [{name: vs, type: dummy, config: {vars: {secret: sesame}}}]
prototypes: [{name: approval, type: builtin}]
resources: [{name: src, type: mock, check_every: never, source: {initial_version: v1}}]
jobs:
- name: ship
  plan:
  - get: src
  - approve: release
    message: |
      Ship ((vs:secret))?
      Really?
    artifacts: [src]
    roles: [member]
    users: ["local:ann"]
    quorum: 2
    timeout: 168h
    on_success: {task: s, config: &say {platform: linux, run: {path: echo, args: [hook]}}}
    on_failure: {task: f, config: *say}
    on_abort: {task: a, config: *say}
  - {task: after, config: {platform: linux, run: {path: echo, args: [shipped]}}}
- name: prototype
  plan: [{run: release, type: approval, params: {message: "Ship?"}}]
- name: lost
  plan: [{approve: release, artifacts: [nothing]}]
- name: around
  plan:
  - in_parallel:
      fail_fast: true
      steps:
      - {approve: release}
      - {task: fails, config: {platform: linux, run: {path: sh, args: [-c, 'exit 1']}}}
"#;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl Server {
    pub(crate) async fn asked(&self, build: BuildId) -> ApprovalRecord {
        self.until("the question", async || {
            self.store.approvals_of_build(build).await.unwrap().pop()
        })
        .await
    }

    pub(crate) async fn answer(
        &self,
        approval: &ApprovalRecord,
        name: &str,
        approves: bool,
    ) -> Answered {
        let answer = ApprovalAnswer {
            person: format!("local:{name}"),
            name: name.to_owned(),
            approves,
            comment: "looked at it".to_owned(),
            at: self.now(),
        };
        self.store.answer_approval(approval.id, &answer).await.unwrap()
    }
}

#[tokio::test]
async fn a_quorum_lets_the_build_go_on() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("ship").await;
    let approval = server.asked(build).await;
    assert_eq!(approval.message, "Ship ((redacted))?\nReally?\n");
    assert_eq!((approval.quorum, approval.asked_by.as_deref()), (2, Some("someone")));
    assert_eq!(approval.approvers.to_string(), "role member or user local:ann");
    let artifact = server.store.artifact(approval.artifacts[0].id).await.unwrap().unwrap();
    assert_eq!((artifact.name.as_str(), artifact.build), ("src", Some(build)));
    let waiting = server.store.waiting_approvals(&Visible::All, 9).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&approval));
    // It is a row and nothing else: no container runs for it.
    let of_step = jb_store::ContainerFilter {
        build: Some(build),
        step_name: Some("release".to_owned()),
        ..Default::default()
    };
    assert_eq!(server.store.containers(&of_step, 9).await.unwrap(), []);

    assert!(matches!(server.answer(&approval, "ann", true).await, Answered::Counted(_)));
    server.logged(build, "approved by ann: looked at it").await;
    // One person counts once.
    assert!(matches!(server.answer(&approval, "ann", true).await, Answered::Counted(_)));
    assert!(matches!(server.answer(&approval, "ann", false).await, Answered::Contradicts(_)));
    assert_eq!(server.asked(build).await.status, ApprovalStatus::Waiting);
    server.answer(&approval, "bob", true).await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert_eq!(
        server
            .log(build)
            .await
            .lines()
            .filter(|line| !line.starts_with("fetch"))
            .collect::<Vec<_>>(),
        [
            "waiting for approval `release` by role member or user local:ann, 2 people, for 168h",
            "  Ship ((redacted))?",
            "  Really?",
            "to look at: src",
            &format!("answer with `jetbridge approve {0}` or `jetbridge deny {0}`", approval.id),
            "approved by ann: looked at it",
            "approved by bob: looked at it",
            "hook",
            "shipped",
        ]
    );
    assert!(matches!(server.answer(&approval, "eve", false).await, Answered::Over(_)));
}

#[tokio::test]
async fn one_rejection_fails_the_step() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("ship").await;
    let approval = server.asked(build).await;
    server.answer(&approval, "ann", true).await;
    server.answer(&approval, "bob", false).await;
    assert_eq!(server.ended(build).await, BuildStatus::Failed);
    let log = server.log(build).await.replace('\r', "");
    assert!(log.ends_with("rejected by bob: looked at it\nhook\n"), "{log}");
}

#[tokio::test]
async fn a_question_waits_a_week_over_deaths_of_the_server() {
    let mut server = Server::new(PIPELINE).await;
    let build = server.trigger("ship").await;
    let approval = server.asked(build).await;
    for _ in 0..3 {
        server.crash().await;
        server.advance(Duration::from_secs(48 * 3600));
        server.start(None);
        assert_eq!(server.asked(build).await.status, ApprovalStatus::Waiting);
    }
    server.answer(&approval, "ann", true).await;
    server.crash().await;
    // Answered while no server is there to see it.
    server.answer(&approval, "bob", true).await;
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let log = server.log(build).await;
    assert_eq!(log.matches("waiting for approval").count(), 1, "{log}");
    assert_eq!(log.matches("approved by").count(), 2, "{log}");
}

#[tokio::test]
async fn a_question_that_nobody_answers_expires() {
    let mut server = Server::new(PIPELINE).await;
    let build = server.trigger("ship").await;
    let approval = server.asked(build).await;
    server.answer(&approval, "ann", true).await;
    server.crash().await;
    server.advance(WEEK);
    // Too late, though nobody has noticed yet.
    assert!(matches!(server.answer(&approval, "bob", true).await, Answered::Over(_)));
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(server.asked(build).await.status, ApprovalStatus::Expired);
    let log = server.log(build).await.replace('\r', "");
    assert!(log.ends_with("approval `release` expired: 1 of 2 approved\nhook\n"), "{log}");
}

#[tokio::test]
async fn an_aborted_build_withdraws_its_question() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("ship").await;
    let approval = server.asked(build).await;
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(server.asked(build).await.status, ApprovalStatus::Withdrawn);
    assert!(matches!(server.answer(&approval, "ann", true).await, Answered::Over(_)));
    let waiting = server.store.waiting_approvals(&Visible::All, 9).await.unwrap();
    assert_eq!(waiting, []);
}

#[tokio::test]
async fn a_sibling_that_fails_fast_withdraws_it_too() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("around").await;
    assert_eq!(status, BuildStatus::Failed);
    let asked = server.store.approvals_of_build(build).await.unwrap();
    assert!(asked.iter().all(|asked| asked.status == ApprovalStatus::Withdrawn), "{asked:?}");
}

#[tokio::test]
async fn the_prototype_asks_members_by_default() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("prototype").await;
    let approval = server.asked(build).await;
    assert_eq!((approval.approvers.to_string().as_str(), approval.quorum), ("role member", 1));
    assert_eq!(approval.expires_at, None);
    server.answer(&approval, "ann", true).await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
}

#[tokio::test]
async fn an_artifact_that_is_not_there_is_named() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("lost").await;
    assert_eq!(status, BuildStatus::Errored);
    let errors = server.errors(build).await;
    assert_eq!(errors, ["approve `release`: unknown artifact `nothing` to look at; there are: "]);
}
