//! What goes wrong on clusters. In each case the build ends as it should, and no pod is left.

use super::Place;
use crate::api::Api;
use crate::long_log;
use crate::server::until;

fn task(config: &str) -> String {
    format!("jobs:\n- name: j\n  plan:\n  - task: t\n    config:\n      platform: linux\n{config}")
}

fn script(script: &str) -> String {
    task(&format!("      run: {{path: sh, args: [-ec, \"{script}\"]}}\n"))
}

/// The pipeline's one job, begun; returns once its log has `begun`.
async fn begun(api: &Api, pipeline: &str, begun: &str) -> i64 {
    api.set_pipeline("p", pipeline).await;
    let build = api.trigger("p", "j").await;
    api.events_until(build, None, |said| said.contains(begun)).await;
    build
}

fn counting(n: u32) -> (String, String) {
    let pipeline = script(&format!("for n in $(seq {n}); do echo line $n; sleep 0.05; done"));
    (pipeline, (1..=n).map(|n| format!("line {n}\\r\\n").replace("\\r\\n", "\r\n")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_loses_and_repeats_nothing() {
    let Some(mut place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    let (pipeline, whole) = counting(200);
    let build = begun(&api, &pipeline, "line 5").await;
    for line in ["line 20", "line 60"] {
        api.events_until(build, None, |said| said.contains(line)).await;
        place.server.kill();
        place.server.start_again().await;
    }
    let api = Api::with_token(&place.server.url, &api.token);
    assert_eq!(api.succeeded(build).await, whole);
    place.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_pod_somebody_deletes_ends() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    let build = begun(&api, &script("echo begun; sleep 1000"), "begun").await;
    let pods = place.pods();
    place.cluster.kubectl(&["delete", "pod", &pods[0], "--grace-period=1"]);
    let (status, log) = api.ended(build).await;
    // The runner is asked to end and passes that on, if it gets so far.
    assert!(["failed", "errored"].contains(&status.as_str()), "{status}: {log}");
    assert!(log.contains("begun"), "{log}");
    place.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_pod_is_evicted_says_so() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    let build = begun(&api, &script("echo begun; sleep 1000"), "begun").await;
    place.cluster.evict("jetbridge.dev/kind=task");
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "errored", "{log}");
    assert!(log.contains("it was evicted to empty its node"), "{log}");
    place.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_runs_out_is_told_with_its_limit() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    let run = "      container_limits: {memory: 64mb}\n      run: {path: sh, args: [-c, 'echo begun; sleep 1; dd if=/dev/zero of=/dev/null bs=900M count=1']}\n";
    let build = begun(&api, &task(run), "begun").await;
    let (status, log) = api.ended(build).await;
    assert_ne!(status, "succeeded");
    assert!(log.contains("memory limit of 67108864 bytes"), "{status}: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_starts_says_why() {
    let more = [
        "--kubernetes-pod-startup-timeout",
        "30s",
        "--kubernetes-task-image",
        "localhost/there-is-none:1",
    ];
    let wrong_image = async {
        let Some(place) = Place::with("restricted", &more).await else { return };
        let api = place.login().await;
        api.set_pipeline("p", &script("echo never")).await;
        let (status, log) = api.ended(api.trigger("p", "j").await).await;
        assert_eq!(status, "errored");
        assert!(log.contains("localhost/there-is-none:1"), "{log}");
        place.is_empty().await;
    };
    let no_room = async {
        let Some(place) = Place::with("restricted", &more[..2]).await else { return };
        let api = place.login().await;
        let pipeline = task("      container_limits: {memory: 900gb}\n      run: {path: echo}\n");
        api.set_pipeline("p", &pipeline).await;
        let (status, log) = api.ended(api.trigger("p", "j").await).await;
        assert_eq!(status, "errored");
        // Told when it begins, and once more by the error.
        let reason = "no node takes it: 0/1 nodes are available: 1 Insufficient memory.";
        assert!(log.starts_with(&format!("waiting: {reason}")), "{log}");
        assert_eq!(log.matches(reason).count(), 2, "{log}");
        place.is_empty().await;
    };
    let no_quota = async {
        let Some(place) = Place::start("restricted").await else { return };
        let api = place.login().await;
        // The pod for artifacts is there already.
        let quota = ["create", "quota", "few", "--hard=pods=1"];
        until("the pod for artifacts is there", async || {
            let found = place.cluster.kubectl(&["get", "pods", "--output=name"]);
            (!found.is_empty()).then_some(())
        })
        .await;
        place.cluster.kubectl(&quota);
        until("the quota counts", async || {
            let used = ["get", "quota", "few", "--output=jsonpath={.status.used.pods}"];
            (place.cluster.kubectl(&used) == "1").then_some(())
        })
        .await;
        let reason = "waiting: the namespace has no room: ";
        let build = begun(&api, &script("echo at last"), reason).await;
        place.cluster.kubectl(&["delete", "quota", "few"]);
        let log = api.succeeded(build).await;
        assert!(log.starts_with(reason) && log.contains("exceeded quota: few"), "{log}");
        assert!(log.ends_with("\nat last\r\n") && log.matches("waiting").count() == 1, "{log}");
        place.is_empty().await;
    };
    tokio::join!(wrong_image, no_room, no_quota);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_journal_holds_comes_whole() {
    let Some(mut place) = Place::start("restricted").await else { return };
    long_log::comes_whole(&mut place.server, "/.jetbridge/state/journal/task").await;
    place.is_empty().await;
}
