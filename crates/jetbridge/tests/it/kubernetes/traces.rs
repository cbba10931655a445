//! A span for each pod, with its phases.

use super::Place;
use crate::traces::{Collector, sent_to, texts};

const PIPELINE: &str = r#"
jobs:
- name: traced
  plan:
  - task: run
    config: {platform: linux, run: {path: "true"}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_a_span_with_its_phases() {
    let (collector, address) = Collector::start().await;
    let Some(place) = Place::with("restricted", &sent_to(&address)).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "traced").await;
    api.succeeded(build).await;
    let spans = collector.trace_of(build).await;
    let pod = spans.iter().find(|span| span.name == "pod").unwrap();
    let task = spans.iter().find(|span| span.name == "task").unwrap();
    assert_eq!(pod.parent_span_id, task.span_id);
    let facts = texts(&pod.attributes);
    assert_eq!(facts["k8s.namespace.name"], place.cluster.namespace);
    assert!(facts["k8s.pod.name"].starts_with("p-traced-b1-task-"), "{facts:?}");
    assert!(!facts["k8s.node.name"].is_empty(), "{facts:?}");
    let events: Vec<&str> = pod.events.iter().map(|event| event.name.as_str()).collect();
    for phase in ["requested", "scheduled", "runner answered", "process started", "process ended"] {
        assert!(events.contains(&phase), "{phase} is not in {events:?}");
    }
}
