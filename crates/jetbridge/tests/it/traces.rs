//! Traces of builds, as a collector gets them by OTLP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

use crate::server::{Server, until};

const PIPELINE: &str = r#"
jobs:
- name: traced
  plan:
  - task: tell
    config:
      platform: linux
      run: {path: sh, args: [-ec, "echo context $TRACEPARENT"]}
  - task: fail
    config: {platform: linux, run: {path: "false"}}
"#;

/// What came in, in the official messages of the protocol.
#[derive(Clone, Default)]
pub struct Collector {
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// Its address, too.
    pub async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/v1/traces", post(Self::take));
        let router = router.with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, address)
    }

    async fn take(State(collector): State<Self>, headers: HeaderMap, body: Bytes) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert_eq!(headers["x-key"], "sesame");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        collector.got.lock().unwrap().push(request);
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.got.lock().unwrap().clone()
    }

    /// The spans of the build's trace, once its own span is there, which is the last.
    pub async fn trace_of(&self, build: i64) -> Vec<Span> {
        until("the build's trace comes", async || {
            let requests = self.requests();
            let scopes = requests.iter().flat_map(|request| &request.resource_spans);
            let spans = scopes.flat_map(|resource| &resource.scope_spans).flat_map(|it| &it.spans);
            let spans: Vec<Span> = spans.cloned().collect();
            let root = spans.iter().find(|span| {
                span.name == "build" && texts(&span.attributes)["build_id"] == build.to_string()
            })?;
            let trace = root.trace_id.clone();
            Some(spans.into_iter().filter(|span| span.trace_id == trace).collect())
        })
        .await
    }
}

pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((pair.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

/// Flags that have traces sent to a collector.
pub fn sent_to(address: &str) -> [&str; 4] {
    ["--tracing-otlp-address", address, "--tracing-otlp-header", "X-Key:sesame"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_a_trace_of_its_steps_and_containers() {
    let (collector, address) = Collector::start().await;
    let Some(server) = Server::with(&sent_to(&address)).await else { return };
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "traced").await;
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "failed", "{log}");
    let spans = collector.trace_of(build).await;
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let root = named("build")[0];
    assert_eq!(root.status.as_ref().unwrap().code, 2, "{root:?}");
    assert!(root.parent_span_id.is_empty(), "{root:?}");
    let facts = texts(&root.attributes);
    assert_eq!(
        [&facts["job"], &facts["pipeline"], &facts["team"], &facts["cicd.pipeline.result"]],
        ["traced", "p", "main", "failure"]
    );
    let tasks = named("task");
    let of_task = |name: &str| {
        let is_it = |it: &&&Span| texts(&it.attributes)["cicd.pipeline.task.name"] == name;
        *tasks.iter().find(is_it).unwrap()
    };
    let (tell, fail) = (of_task("tell"), of_task("fail"));
    for task in [tell, fail] {
        assert_eq!(task.parent_span_id, root.span_id);
        assert!(root.start_time_unix_nano <= task.start_time_unix_nano);
        assert!(task.end_time_unix_nano <= root.end_time_unix_nano);
    }
    assert_eq!(texts(&fail.attributes)["error.type"], "failure");
    // What runs in the step can go on with its trace.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let context = format!("context 00-{}-{}-01", hex(&root.trace_id), hex(&tell.span_id));
    assert!(log.contains(&context), "no `{context}` in {log}");
    let containers = named("container");
    assert_eq!(containers.len(), 2);
    let container = containers.iter().find(|it| it.parent_span_id == tell.span_id).unwrap();
    let events: Vec<&str> = container.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        events,
        ["requested", "runner answered", "process started", "process ended", "settled"]
    );
    assert!(container.events.is_sorted_by_key(|event| event.time_unix_nano));
    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(texts(&resource.attributes)["service.name"], "concourse-web");
}
