//! Sends the spans of builds to a collector, by OTLP over HTTP.
//!
//! Spans wait in a queue with a bound and are sent in batches. What a collector does not take in time is dropped: builds
//! never wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use jb_engine::trace::{Fact, Kind, Span, Tracer};
use jb_model::Timestamp;
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::cli::TraceOptions;

/// Spans that wait to be sent.
const QUEUE_MAX: usize = 8_192;
/// Spans sent in one request.
const BATCH_MAX: usize = 512;
/// How long a span may wait for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last batch may take when the server ends.
const LAST: Duration = Duration::from_secs(3);

/// Where spans go; nowhere when nobody asked for it.
pub(crate) struct Traces {
    sender: Option<mpsc::Sender<Span>>,
    task: Option<JoinHandle<()>>,
    dropped: Arc<AtomicU64>,
}

impl Traces {
    pub(crate) fn start(options: &TraceOptions) -> anyhow::Result<Self> {
        let dropped = Arc::new(AtomicU64::new(0));
        let Some(address) = &options.tracing_otlp_address else {
            return Ok(Self { sender: None, task: None, dropped });
        };
        let headers = pairs("--tracing-otlp-header", &options.tracing_otlp_header)?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint(address, options.tracing_otlp_use_tls))
            .with_timeout(TIMEOUT)
            .with_headers(headers.into_iter().collect::<HashMap<_, _>>())
            .build()
            .with_context(|| format!("send traces to --tracing-otlp-address `{address}`"))?;
        let attributes = pairs("--tracing-attribute", &options.tracing_attribute)?;
        let resource = Resource::builder_empty()
            .with_service_name(options.tracing_service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)))
            .build();
        exporter.set_resource(&resource);
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(send(exporter, spans, dropped.clone()));
        Ok(Self { sender: Some(sender), task: Some(task), dropped })
    }

    pub(crate) fn tracer(&self) -> Tracer {
        let Some(sender) = &self.sender else { return Tracer::default() };
        let (sender, dropped) = (sender.downgrade(), self.dropped.clone());
        Tracer::new(move |span| {
            let sent = sender.upgrade().is_some_and(|sender| sender.try_send(span).is_ok());
            if !sent {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Sends what waits, if the collector takes it.
    pub(crate) async fn end(self) {
        drop(self.sender);
        if let Some(task) = self.task {
            let _ = tokio::time::timeout(LAST, task).await;
        }
    }
}

async fn send(exporter: SpanExporter, mut spans: mpsc::Receiver<Span>, dropped: Arc<AtomicU64>) {
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
        // Steps end in groups; a build's span follows its last step's.
        let until = tokio::time::Instant::now() + LINGER;
        while batch.len() < BATCH_MAX {
            match tokio::time::timeout_at(until, spans.recv()).await {
                Ok(Some(span)) => batch.push(span),
                Ok(None) | Err(_) => break,
            }
        }
        let n = batch.len();
        let sent = exporter.export(batch.drain(..).map(data).collect()).await;
        let lost = dropped.swap(0, Ordering::Relaxed);
        if let Err(error) = sent {
            tracing::warn!(%error, "{n} spans were not taken by the collector of traces, and are lost");
        }
        if lost > 0 {
            tracing::warn!(
                "{lost} spans were dropped, because the collector of traces is too slow"
            );
        }
    }
}

/// A span as the collector gets it.
fn data(span: Span) -> SpanData {
    let mut attributes = said(span.attributes);
    attributes.extend(span.error.clone().map(|error| KeyValue::new("error.type", error)));
    let events = span.events.into_iter();
    let events = events.map(|it| Event::new(it.name, time(it.at), said(it.attributes), 0));
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace.0),
        SpanId::from_bytes(span.id.0),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, |id| SpanId::from_bytes(id.0)),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Internal => SpanKind::Internal,
            Kind::Client => SpanKind::Client,
        },
        name: span.name,
        start_time: time(span.begin),
        end_time: time(span.end),
        attributes,
        dropped_attributes_count: 0,
        events: {
            let mut all = SpanEvents::default();
            all.events.extend(events);
            all
        },
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("jetbridge").build(),
    }
}

fn said(facts: Vec<(&'static str, Fact)>) -> Vec<KeyValue> {
    let value = |fact| match fact {
        Fact::Text(text) => Value::from(text),
        Fact::Texts(texts) => {
            Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect()))
        }
        Fact::Count(count) => Value::from(count),
        Fact::Seconds(seconds) => Value::from(seconds),
    };
    facts.into_iter().map(|(name, fact)| KeyValue::new(name, value(fact))).collect()
}

fn time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.0).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

fn endpoint(address: &str, tls: bool) -> String {
    let url = match (address.contains("://"), tls) {
        (true, _) => address.to_owned(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    };
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    match path {
        // A whole URL says where on the collector.
        Some((_, path)) if !path.is_empty() => url,
        _ => format!("{}/v1/traces", url.trim_end_matches('/')),
    }
}

fn pairs(flag: &str, all: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for text in all {
        match text.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                pairs.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            // Its value may be secret.
            _ => bail!("{flag}: what is given is not written as NAME:VALUE"),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_as_people_do() {
        for (address, tls, url) in [
            ("collector:4318", false, "http://collector:4318/v1/traces"),
            ("collector:4318", true, "https://collector:4318/v1/traces"),
            ("http://collector:4318", true, "http://collector:4318/v1/traces"),
            ("https://collector/otlp/v1/traces", false, "https://collector/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(address, tls), url);
        }
    }

    #[test]
    fn a_header_needs_a_name() {
        assert_eq!(
            pairs("--f", &["a: b:c".to_owned()]).unwrap(),
            [("a".to_owned(), "b:c".to_owned())]
        );
        let error = pairs("--f", &["secret".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("--f") && !error.contains("secret"), "{error}");
    }
}
