//! The pods of a build's steps are there to be seen.

use super::Place;

const PIPELINE: &str = r#"
jobs:
- name: all
  plan:
  - task: broken
    config: {platform: linux, run: {path: "false"}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_steps_pod_is_shown() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "all").await;
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "failed", "{log}");
    let pods = api.get(&format!("/builds/{build}/pods")).await;
    assert_eq!(pods.as_array().unwrap().len(), 1, "{pods}");
    let pod = &pods[0];
    assert_eq!(pod["namespace"], place.cluster.namespace, "{pod}");
    assert_eq!(pod["step_name"], "broken", "{pod}");
    assert_eq!(pod["type"], "task", "{pod}");
    assert_eq!(pod["containers"][0]["name"], "main", "{pod}");
    for known in ["name", "container_id", "node", "created_at", "scheduled_at"] {
        assert!(!pod[known].is_null(), "{known}: {pod}");
    }
}
