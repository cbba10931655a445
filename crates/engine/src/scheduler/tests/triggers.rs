//! Builds that new versions start.

use jb_model::BuildStatus;
use jb_store::NextInputChoice;

use super::server::Server;

const TWO_JOBS: &str = "
resources:
- {name: x, type: mock, source: {}}
- {name: z, type: mock, source: {}}
jobs:
- name: a
  plan:
  - {get: x, trigger: true}
  - {get: z}
- name: b
  plan:
  - {get: x, trigger: true, passed: [a]}
  - {get: renamed, resource: z, passed: [a]}
";

#[tokio::test]
async fn each_new_version_of_a_trigger_starts_one_build() {
    let mut server = Server::new(TWO_JOBS).await;
    server.settle().await;
    assert!(server.builds("a").await.is_empty());

    server.checked("z", &["y1"]).await;
    server.settle().await;
    assert!(server.builds("a").await.is_empty(), "nothing to trigger it yet");

    server.checked("x", &["1", "2"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=2 z=y1"]);

    // The same versions again, and a new one that does not trigger.
    server.checked("x", &["2"]).await;
    server.checked("z", &["y2"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await.len(), 1);
    let job = server.store.job_by_name(server.pipeline, "a").await.unwrap().unwrap();
    assert!(job.has_new_inputs, "a version waits for the next build");

    server.checked("x", &["3"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=2 z=y1", "2 started x=3 z=y2"]);
}

#[tokio::test]
async fn passed_versions_travel_together() {
    let mut server = Server::new(TWO_JOBS).await;
    server.checked("z", &["y1"]).await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    let job = server.job("b").await;
    let (next, determined) = server.store.next_inputs(job).await.unwrap();
    assert!(!determined);
    let reason = "no satisfiable builds from passed jobs found for set of inputs";
    let expected = NextInputChoice::Unresolved { reason: reason.into() };
    assert!(next.iter().all(|input| input.choice == expected), "{next:?}");

    let first = server.build("a", "1").await;
    server.finish(first, BuildStatus::Failed).await;
    server.settle().await;
    assert!(server.builds("b").await.is_empty(), "a failed build vouches for nothing");

    server.checked("z", &["y2"]).await;
    server.checked("x", &["2"]).await;
    server.settle().await;
    // Newer versions that have not passed do not matter to `b`.
    server.checked("z", &["y3"]).await;
    let second = server.build("a", "2").await;
    server.finish(second, BuildStatus::Succeeded).await;
    server.settle().await;
    assert_eq!(server.builds("b").await, ["1 started renamed=y2 x=2"]);
    let build = server.build("b", "1").await;
    let pipes = server.store.pipes_of(build).await.unwrap();
    assert_eq!(pipes.iter().map(|pipe| pipe.build).collect::<Vec<_>>(), [second]);
}

#[tokio::test]
async fn every_version_gets_its_build() {
    let yaml = "
resources: [{name: x, type: mock, source: {}}]
jobs:
- name: a
  plan: [{get: x, trigger: true, version: every}]
- name: b
  plan: [{get: x, trigger: true, version: every, passed: [a]}]
";
    let mut server = Server::new(yaml).await;
    server.checked("x", &["1"]).await;
    server.settle().await;
    server.checked("x", &["2", "3", "4"]).await;
    server.settle().await;
    assert_eq!(
        server.builds("a").await,
        ["1 started x=1", "2 started x=2", "3 started x=3", "4 started x=4"]
    );
    let first = server.build("a", "1").await;
    server.finish(first, BuildStatus::Succeeded).await;
    server.settle().await;
    for name in ["2", "3", "4"] {
        let build = server.build("a", name).await;
        server.finish(build, BuildStatus::Succeeded).await;
    }
    server.settle().await;
    assert_eq!(
        server.builds("b").await,
        ["1 started x=1", "2 started x=2", "3 started x=3", "4 started x=4"]
    );
}

#[tokio::test]
async fn pins_and_disabled_versions_count_at_once() {
    let mut server = Server::new(TWO_JOBS).await;
    server.checked("z", &["y1"]).await;
    server.checked("x", &["1", "2", "3"]).await;
    server.settle().await;
    assert_eq!(server.builds("a").await, ["1 started x=3 z=y1"]);
    let resource = server.resource("x").await;
    let versions = server.store.versions_before(resource, None, 10).await.unwrap();
    server.tick(1);
    assert!(server.store.pin_version(resource, versions[2].id, server.now).await.unwrap());
    server.settle().await;
    assert_eq!(server.builds("a").await[1], "2 started x=1 z=y1");
    server.tick(1);
    let store = server.store.clone();
    store.set_version_enabled(resource, versions[0].id, false, server.now).await.unwrap();
    store.unpin(resource, server.now).await.unwrap();
    server.settle().await;
    assert_eq!(server.builds("a").await[2], "3 started x=2 z=y1");
}
