//! What is removed, what stays, and two servers that share a database and a namespace.

use super::Place;
use crate::api::{Api, events_of};
use crate::server::{Server, until};

const PIPELINE: &str = "
jobs:
- name: fails
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, 'echo failed; exit 1']}}}]
- name: counts
  plan:
  - task: t
    config:
      platform: linux
      outputs: [{name: o}]
      caches: [{path: cache}]
      run: {path: sh, args: [-ec, 'echo ran >> cache/times; for n in $(seq 100); do echo line $n; sleep 0.05; done; cp cache/times o/']}
  - {task: look, config: {platform: linux, inputs: [{name: o}], run: {path: sh, args: [-ec, 'echo ran $(wc -l < o/times) times']}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_failed_builds_stay_for_a_look_until_they_are_of_no_use() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    for name in ["p", "destroyed"] {
        api.set_pipeline(name, PIPELINE).await;
        assert_eq!(api.ended(api.trigger(name, "fails").await).await.0, "failed");
    }
    let kept = place.pods();
    assert_eq!(kept.len(), 2);
    // A build that nobody can ask for any more.
    api.delete("/teams/main/pipelines/destroyed").await;
    until("the pod of the vanished build is gone", async || {
        (place.pods().len() == 1).then_some(())
    })
    .await;
    // A container that ended is nothing to look into.
    let pod = place.pods();
    place.cluster.kubectl(&["delete", "pod", &pod[0], "--grace-period=1"]);
    place.is_empty().await;
    let containers = until("its container is forgotten", async || {
        let containers = api.get("/teams/main/containers").await;
        containers.as_array().unwrap().is_empty().then_some(containers)
    });
    containers.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_builds_lose_their_pods_after_the_grace_period() {
    let more = ["--gc-failed-grace-period", "1s"];
    let Some(place) = Place::with("restricted", &more).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    assert_eq!(api.ended(api.trigger("p", "fails").await).await.0, "failed");
    place.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_work_and_leave_one_another_alone() {
    let Some(postgres) = jb_test_postgres::cluster() else { return };
    postgres.psql("CREATE DATABASE two_servers TEMPLATE template0");
    let socket = postgres.socket().to_str().unwrap();
    let more = [
        "--postgres-socket",
        socket,
        "--postgres-user",
        "postgres",
        "--postgres-database",
        "two_servers",
    ];
    let Some(mut place) = Place::with("restricted", &more).await else { return };
    let kubeconfig = place.cluster.kubeconfig.clone();
    let options = Place::options(&place.cluster, &kubeconfig, "restricted", &more);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let other = Server::launch(&options, &[], false).await;
    let api = place.login().await;
    let other_api = Api::with_token(&other.url, &api.token);
    let pipelines = ["a", "b", "c", "d"];
    let mut builds = Vec::new();
    for (n, name) in pipelines.into_iter().enumerate() {
        let api = if n % 2 == 0 { &api } else { &other_api };
        api.set_pipeline(name, PIPELINE).await;
        builds.push(api.trigger(name, "counts").await);
    }
    for build in &builds {
        other_api.events_until(*build, None, |said| said.contains("line 5\\r")).await;
    }
    // The other takes over what this one held.
    place.server.kill();
    let expected: String = (1..=100).map(|n| format!("line {n}\r\n")).collect();
    for build in &builds {
        let log = other_api.succeeded(*build).await;
        assert_eq!(log, format!("{expected}ran 1 times\r\n"));
        let events = events_of(&other_api.stream(*build).await);
        let starts = events.iter().filter(|event| event["event"] == "start-task").count();
        assert_eq!(starts, 2);
    }
    place.is_empty().await;
    place.server.start_again().await;
    // Now that both are there again, neither takes the other's things.
    let api = Api::with_token(&place.server.url, &api.token);
    let more: Vec<i64> =
        vec![api.trigger("a", "counts").await, other_api.trigger("b", "counts").await];
    for build in more {
        assert_eq!(api.succeeded(build).await, format!("{expected}ran 2 times\r\n"));
    }
    place.is_empty().await;
}
