//! Builds that people ask for, and the checks that builds wait for.

use jb_model::BuildStatus;

use super::server::Server;

const JOB: &str = "
resources:
- {name: x, type: mock, source: {}}
- {name: z, type: mock, source: {}, check_every: never}
jobs:
- name: a
  plan:
  - {get: x, trigger: true}
  - {get: z}
";

#[tokio::test]
async fn a_manual_build_waits_for_fresh_checks_and_takes_what_they_find() {
    let mut server = Server::new(JOB).await;
    let build = server.trigger("a").await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending"]);
    assert_eq!(server.running_checks("x").await.len(), 1);
    assert_eq!(server.running_checks("z").await.len(), 1);
    let preparation = server.scheduler.preparation(build).await.unwrap().unwrap();
    assert_eq!(preparation.inputs["x"].as_str(), "blocking");
    assert_eq!(preparation.missing_input_reasons["x"], "latest version of resource not found");

    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending"], "the other check is not over");
    assert_eq!(server.running_checks("z").await.len(), 1, "none was created beside it");
    server.checked("z", &["y1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1 z=y1"]);

    // Versions are known now, but not fresh.
    let build = server.trigger("a").await;
    server.settle().await;
    let preparation = server.scheduler.preparation(build).await.unwrap().unwrap();
    let checking = "checking for latest available versions";
    assert_eq!(preparation.missing_input_reasons["x"], checking);
    server.checked("x", &["2"]).await;
    server.checked("z", &["y1"]).await;
    server.settle().await;
    // The new version also triggers; the build that waits takes it, and no second one is made.
    assert_eq!(server.builds("a").await, ["1 started x=1 z=y1", "2 started x=2 z=y1"]);
}

#[tokio::test]
async fn a_failed_check_does_not_hold_a_build_up_for_ever() {
    let mut server = Server::new(JOB).await;
    server.checked("z", &["y1"]).await;
    server.checked("x", &["1"]).await;
    server.trigger("a").await;
    server.settle().await;
    server.check_ended("x", None).await;
    server.checked("z", &["y1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1 z=y1"]);
}

#[tokio::test]
async fn a_check_that_never_got_as_far_as_its_scope_counts_too() {
    let mut server = Server::new(JOB).await;
    server.trigger("a").await;
    server.settle().await;
    for resource in ["x", "z"] {
        for check in server.running_checks(resource).await {
            server.finish(check, BuildStatus::Errored).await;
        }
        let id = server.resource(resource).await;
        server.checks.build_ended(id, server.now).await.unwrap();
    }
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending"], "there are no versions");
    assert!(server.running_checks("x").await.is_empty(), "no check is made over and over");
    let build = server.build("a", "1").await;
    let preparation = server.scheduler.preparation(build).await.unwrap().unwrap();
    assert_eq!(preparation.missing_input_reasons["x"], "latest version of resource not found");
}

#[tokio::test]
async fn a_triggered_build_waits_for_overdue_checks_of_other_inputs() {
    let yaml = "
resources:
- {name: x, type: mock, source: {}}
- {name: z, type: mock, source: {}}
jobs:
- name: a
  plan:
  - {get: x, trigger: true}
  - {get: z}
";
    let mut server = Server::new(yaml).await;
    server.checked("z", &["y1"]).await;
    server.tick(3600);
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending"]);
    assert_eq!(server.running_checks("z").await.len(), 1);
    server.checked("z", &["y2"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1 z=y2"]);
}

#[tokio::test]
async fn a_rerun_takes_the_old_versions_and_waits_for_nothing() {
    let mut server = Server::new(JOB).await;
    server.checked("z", &["y1"]).await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    // `z` is never checked by the clock, so the build has it checked.
    server.checked("z", &["y1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1 z=y1"]);
    let first = server.build("a", "1").await;
    server.finish(first, BuildStatus::Failed).await;
    server.checked("x", &["2"]).await;
    server.settle().await;
    server.checked("z", &["y2"]).await;
    server.settle().await;
    server.tick(3600);
    let rerun = server.store.create_rerun(first, Some("someone"), server.now).await.unwrap();
    server.settle().await;
    let builds = server.builds("a").await;
    assert_eq!(builds, ["1 failed x=1 z=y1", "2 started x=2 z=y2", "1.1 started x=1 z=y1"]);
    server.finish(rerun.id, BuildStatus::Succeeded).await;
    let again = server.store.create_rerun(rerun.id, None, server.now).await.unwrap();
    assert_eq!(again.name, "1.2");
    server.settle().await;
    assert_eq!(server.builds("a").await[3], "1.2 started x=1 z=y1");
}

#[tokio::test]
async fn a_rerun_of_a_build_that_never_started_holds_nobody_up() {
    let yaml = "
resources: [{name: x, type: mock, source: {}}]
jobs: [{name: a, plan: [{get: x, trigger: true}]}]
";
    let mut server = Server::new(yaml).await;
    let first = server.trigger("a").await;
    server.settle().await;
    server.tick(1);
    server.store.abort_build(first, server.now).await.unwrap();
    server.settle().await;
    server.tick(1);
    server.store.create_rerun(first, None, server.now).await.unwrap();
    server.settle().await;
    server.trigger("a").await;
    server.settle().await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 aborted", "1.1 pending", "2 started x=1"]);
}

#[tokio::test]
async fn pinned_inputs_are_not_checked_for_a_build() {
    let yaml = "
resources: [{name: x, type: mock, source: {}, version: {ref: '1'}}]
jobs: [{name: a, plan: [{get: x}]}]
";
    let mut server = Server::new(yaml).await;
    server.checked("x", &["1", "2"]).await;
    server.trigger("a").await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1"]);
    assert!(server.running_checks("x").await.is_empty());
}
