//! The cluster's node goes away and comes back. Everything on the cluster feels that, so these tests are a program of
//! their own, which runs when no other does, and they run one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

#[path = "../it/api.rs"]
mod api;
#[path = "../../../runtime-kubernetes/tests/it/cluster.rs"]
mod cluster;
mod kubelet;
#[path = "../it/kubernetes/pipeline.rs"]
mod pipeline;
#[path = "../it/kubernetes/place.rs"]
mod place;
#[path = "../it/proxy.rs"]
mod proxy;
#[path = "../it/server.rs"]
mod server;

use tokio::sync::Mutex;

use crate::api::Api;
use crate::kubelet::Kubelet;
use crate::pipeline::{PIPELINE, assert_whole};
use crate::place::Place;
use crate::server::until;

static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn builds_go_on_when_the_kubelet_is_back() {
    let _alone = ALONE.lock().await;
    let Some(kubelet) = Kubelet::find() else { return };
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let under_way = api.trigger("p", "all").await;
    api.events_until(under_way, None, |said| said.contains("line 20\\r")).await;
    kubelet.stop();
    // One that needs it from the beginning, too.
    let asked = api.trigger("p", "all").await;
    kubelet.start();
    assert_whole(&api.succeeded(under_way).await);
    assert_whole(&api.succeeded(asked).await);
    place.is_empty().await;
}

/// Each counts until it is told to stop.
const COUNTING: &str = r#"
jobs:
- name: waits
  plan:
  - task: t
    config: &counts
      platform: linux
      run: {path: sh, args: [-ec, 'n=0; until [ -e /tmp/stop ]; do n=$((n+1)); echo line $n; sleep 0.1; done']}
- name: lost
  plan: [{task: t, config: *counts}]
"#;

/// The pod of a build's step that counts.
async fn counting(api: &Api, job: &str) -> (i64, String) {
    let build = api.trigger("p", job).await;
    api.events_until(build, None, |said| said.contains("line 3\\r")).await;
    let pods = api.get(&format!("/builds/{build}/pods")).await;
    (build, pods[0]["name"].as_str().unwrap().to_owned())
}

fn assert_counted(log: &str) {
    let numbers = log.lines().filter_map(|line| line.strip_prefix("line ")).map(str::parse);
    let numbers: Vec<usize> = numbers.map(Result::unwrap).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_on_a_node_that_is_not_ready_are_waited_for_until_the_cluster_gives_them_up() {
    let _alone = ALONE.lock().await;
    let Some(kubelet) = Kubelet::find() else { return };
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    api.set_pipeline("p", COUNTING).await;
    let ((waits, waiting_pod), (lost, lost_pod)) =
        tokio::join!(counting(&api, "waits"), counting(&api, "lost"));
    let at_once: Vec<_> = (0..2)
        .map(|n| serde_json::json!({"op": "replace", "path": format!("/spec/tolerations/{n}/tolerationSeconds"), "value": 0}))
        .collect();
    let at_once = serde_json::json!(at_once).to_string();
    place.cluster.kubectl(&["patch", "pod", &lost_pod, "--type=json", "--patch", &at_once]);
    kubelet.stop();
    let silent = "waiting: node node does not answer";
    api.events_until(waits, None, |said| said.contains(silent)).await;
    let unknown = ["wait", "node/node", "--for=condition=Ready=Unknown", "--timeout=60s"];
    place.cluster.kubectl(&unknown);
    // The cluster would do so by itself, if it had another node that is ready.
    let taint =
        ["taint", "node", "node", "node.kubernetes.io/unreachable:NoExecute", "--overwrite"];
    let deleted = ["get", "pod", &lost_pod, "--output=jsonpath={.metadata.deletionTimestamp}"];
    until("the cluster gives the pod up", async || {
        place.cluster.kubectl(&taint);
        (!place.cluster.kubectl(&deleted).is_empty()).then_some(())
    })
    .await;
    let (status, log) = api.ended(lost).await;
    assert_eq!(status, "errored", "{log}");
    assert!(log.contains("its node does not answer"), "{log}");
    assert_counted(&log);
    kubelet.start();
    let goes_on =
        |said: &str| said.rsplit_once(silent).is_some_and(|(_, new)| new.contains("line "));
    api.events_until(waits, None, goes_on).await;
    place.cluster.kubectl(&["exec", &waiting_pod, "--container=main", "--", "touch", "/tmp/stop"]);
    let log = api.succeeded(waits).await;
    assert_eq!(log.matches("waiting").count(), 1, "{log}");
    assert_counted(&log);
    place.is_empty().await;
}
