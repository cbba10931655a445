//! Builds that wait for others, for people, or for ever.

use jb_model::BuildStatus;

use super::server::Server;

#[tokio::test]
async fn a_serial_job_runs_one_build_after_the_other() {
    let yaml = "
resources: [{name: x, type: mock, source: {}}]
jobs:
- name: a
  serial: true
  plan: [{get: x}]
";
    let mut server = Server::new(yaml).await;
    server.trigger("a").await;
    server.trigger("a").await;
    server.settle().await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1", "2 pending"]);
    let second = server.build("a", "2").await;
    let preparation = server.scheduler.preparation(second).await.unwrap().unwrap();
    assert_eq!(preparation.max_running_builds.as_str(), "blocking");
    assert_eq!(preparation.inputs_satisfied.as_str(), "not_blocking");

    let first = server.build("a", "1").await;
    server.finish(first, BuildStatus::Errored).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 errored x=1", "2 started x=1"]);
}

#[tokio::test]
async fn a_serial_job_asks_for_checks_that_no_clock_makes() {
    let yaml = "
resources: [{name: x, type: mock, check_every: never, source: {}}]
jobs:
- name: a
  serial: true
  plan: [{get: x}]
";
    let mut server = Server::new(yaml).await;
    server.trigger("a").await;
    server.settle().await;
    assert_eq!(server.running_checks("x").await.len(), 1);
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1"]);
}

#[tokio::test]
async fn max_in_flight_counts_running_builds() {
    let yaml = "
jobs:
- name: a
  max_in_flight: 2
  plan: [{task: t, file: some/file}]
";
    let mut server = Server::new(yaml).await;
    for _ in 0..3 {
        server.trigger("a").await;
    }
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started", "2 started", "3 pending"]);
    let second = server.build("a", "2").await;
    server.finish(second, BuildStatus::Succeeded).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started", "2 succeeded", "3 started"]);
}

const GROUP: &str = "
resources:
- {name: x, type: mock, source: {}}
- {name: never, type: mock, source: {}}
jobs:
- name: a
  serial_groups: [g]
  plan: [{get: x}]
- name: b
  serial_groups: [g, h]
  plan: [{get: x}]
- name: c
  serial_groups: [g]
  plan: [{get: never}]
";

#[tokio::test]
async fn jobs_of_a_serial_group_take_turns_in_the_order_they_were_asked() {
    let mut server = Server::new(GROUP).await;
    server.checked("x", &["1"]).await;
    server.trigger("b").await;
    server.trigger("a").await;
    server.trigger("b").await;
    server.settle().await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("b").await, ["1 started x=1", "2 pending"]);
    assert_eq!(server.builds("a").await, ["1 pending"]);
    let build = server.build("b", "1").await;
    server.finish(build, BuildStatus::Succeeded).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1"]);
    assert_eq!(server.builds("b").await[1], "2 pending");
    let build = server.build("a", "1").await;
    server.finish(build, BuildStatus::Succeeded).await;
    server.settle().await;
    assert_eq!(server.builds("b").await[1], "2 started x=1");
}

#[tokio::test]
async fn who_has_no_inputs_or_is_paused_does_not_hold_up_the_group() {
    let mut server = Server::new(GROUP).await;
    server.checked("x", &["1"]).await;
    server.trigger("c").await;
    server.trigger("b").await;
    server.trigger("a").await;
    server.settle().await;
    let b = server.job("b").await;
    server.store.pause_job(b, "someone", server.now).await.unwrap();
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1"]);
    assert_eq!(server.builds("b").await, ["1 pending"]);
    assert_eq!(server.builds("c").await, ["1 pending"]);
}

#[tokio::test]
async fn a_nudge_that_was_lost_is_made_up_for() {
    let mut server = Server::new(GROUP).await;
    server.checked("x", &["1"]).await;
    server.trigger("b").await;
    server.trigger("a").await;
    server.settle().await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending"]);
    // Pausing the other job makes room; nothing says so.
    let build = server.build("b", "1").await;
    server.finish(build, BuildStatus::Succeeded).await;
    for due in server.store.jobs_to_schedule(10).await.unwrap() {
        server.store.set_scheduled(due.job, due.requested).await.unwrap();
    }
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending"]);
    server.scheduler.request_pending(server.now).await.unwrap();
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=1"]);
}

#[tokio::test]
async fn pending_builds_of_paused_jobs_can_be_aborted() {
    let yaml = "jobs: [{name: a, plan: [{task: t, file: some/file}]}]";
    let mut server = Server::new(yaml).await;
    let a = server.job("a").await;
    server.store.pause_job(a, "someone", server.now).await.unwrap();
    server.trigger("a").await;
    let second = server.trigger("a").await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending", "2 pending"]);
    let first = server.build("a", "1").await;
    let preparation = server.scheduler.preparation(first).await.unwrap().unwrap();
    assert_eq!(preparation.paused_job.as_str(), "blocking");
    server.tick(1);
    server.store.abort_build(second, server.now).await.unwrap();
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 pending", "2 aborted"]);
    server.tick(1);
    server.store.unpause_job(a, server.now).await.unwrap();
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started", "2 aborted"]);
}

#[tokio::test]
async fn pending_builds_of_archived_pipelines_end() {
    let yaml = "jobs: [{name: a, plan: [{task: t, file: some/file}]}]";
    let mut server = Server::new(yaml).await;
    let a = server.job("a").await;
    server.store.pause_job(a, "someone", server.now).await.unwrap();
    let build = server.trigger("a").await;
    server.settle().await;
    server.tick(1);
    server.store.archive_pipeline(server.pipeline, server.now).await.unwrap();
    server.settle().await;
    server.scheduler.request_pending(server.now).await.unwrap();
    let build = server.store.build(build).await.unwrap().unwrap();
    assert_eq!(build.status, BuildStatus::Aborted);
}

#[tokio::test]
async fn what_cannot_be_planned_ends_errored() {
    // The file's own rules forbid this; a configuration may have been stored by an older server.
    let yaml = "
resources: [{name: x, type: mock, source: {}}]
jobs: [{name: a, plan: [{get: x}]}]
";
    let mut server = Server::new(yaml).await;
    server.checked("x", &["1"]).await;
    server.trigger("a").await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    let first = server.build("a", "1").await;
    server.finish(first, BuildStatus::Succeeded).await;
    server
        .set_pipeline(
            "
resources: [{name: x, type: mock, source: {}}, {name: z, type: mock, source: {}}]
jobs: [{name: a, plan: [{get: x}, {get: z}]}]
",
        )
        .await;
    // The rerun has no version for the input that was added since.
    server.tick(1);
    server.store.create_rerun(first, None, server.now).await.unwrap();
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 succeeded x=1", "1.1 errored"]);
}
