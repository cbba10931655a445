//! The lives of pods and calls to the API server are counted.

use super::Place;
use crate::metrics::{Scrape, served};
use crate::server::until;

const PIPELINE: &str = r#"
jobs:
- name: all
  plan:
  - task: make
    config:
      platform: linux
      outputs: [{name: made}]
      run: {path: sh, args: [-ec, "echo 1 > made/it"]}
  - task: take
    config:
      platform: linux
      inputs: [{name: made}]
      run: {path: cat, args: [made/it]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_calls_are_counted() {
    let (flags, url) = served();
    let flags = flags.each_ref().map(String::as_str);
    let Some(place) = Place::with("restricted", &flags).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    api.succeeded(api.trigger("p", "all").await).await;
    place.is_empty().await;
    let task = r#"kind="task""#;
    let scrape = until("both pods are counted as gone", async || {
        let scrape = Scrape::of(&url).await;
        (scrape.sum("jetbridge_pods", &[task]) == 0.0).then_some(scrape)
    });
    let scrape = scrape.await;
    scrape.is(r#"jetbridge_pods_created_total{kind="task"}"#, 2.0);
    scrape.is(r#"jetbridge_pods_deleted_total{kind="task"}"#, 2.0);
    assert_eq!(scrape.value(r#"jetbridge_pods_failed_total{kind="task"}"#), 0.0);
    for until in ["scheduled", "reached"] {
        let series = format!(r#"jetbridge_pod_start_seconds_count{{kind="task",until="{until}"}}"#);
        scrape.is(&series, 2.0);
    }
    let calls = |verb: &str, resource: &str, code: &str| {
        scrape.value(&format!(
            r#"jetbridge_kubernetes_requests_total{{code="{code}",resource="{resource}",verb="{verb}"}}"#
        ))
    };
    // The pod for volumes, and what the cluster can do was tried.
    assert!(calls("create", "pods", "201") >= 3.0);
    assert_eq!(calls("delete", "pods", "200"), 2.0);
    assert!(calls("create", "pods/portforward", "101") >= 3.0);
    assert!(calls("watch", "pods", "200") >= 1.0);
    assert!(calls("patch", "networkpolicies", "201") >= 1.0);
    let published = [r#"operation="settle""#, r#"result="ok""#];
    assert!(scrape.sum("jetbridge_container_operations_seconds_count", &published) >= 2.0);
    let volumes = scrape.sum("jetbridge_volume_operations_seconds_count", &[r#"result="ok""#]);
    assert!(volumes >= 1.0, "{volumes}");
}
