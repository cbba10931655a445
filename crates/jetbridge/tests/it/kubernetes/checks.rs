//! Checks do not make pods of their own.

use serde_json::json;

use super::Place;
use crate::api::Api;

const PIPELINE: &str = r#"
resources:
- {name: one, type: mock, check_every: never, source: {initial_version: "1", log: "looking at one"}}
- {name: two, type: mock, check_every: never, source: {initial_version: "2"}}
- {name: broken, type: mock, check_every: never, source: {check_failure: on purpose}}
jobs:
- {name: all, plan: [{get: one}, {get: two}, {get: broken}]}
"#;

pub(super) async fn check(api: &Api, resource: &str) -> i64 {
    let path = format!("/teams/main/pipelines/p/resources/{resource}/check");
    api.post(&path, &json!({"from": null})).await["id"].as_i64().unwrap()
}

/// The pods of checks, each with what it shows of its age.
fn pods(place: &Place) -> Vec<String> {
    let selector = "--selector=jetbridge.dev/kind in (check, checks)";
    let columns = "--output=custom-columns=:metadata.name,:metadata.uid";
    let list = place.cluster.kubectl(&["get", "pods", selector, columns, "--no-headers"]);
    list.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_run_in_a_pod_that_stays() {
    let Some(place) = Place::start("baseline").await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    api.succeeded(check(&api, "one").await).await;
    let made = pods(&place);
    assert_eq!(made.len(), 1, "{made:?}");
    for resource in ["two", "one", "two"] {
        api.succeeded(check(&api, resource).await).await;
    }
    let (status, log) = api.ended(check(&api, "broken").await).await;
    assert_eq!(status, "failed", "{log}");
    assert!(log.contains("on purpose"), "{log}");
    assert_eq!(pods(&place), made);
    let versions = api.get("/teams/main/pipelines/p/resources/two/versions").await;
    assert_eq!(versions[0]["version"]["version"], "2", "{versions}");
}
