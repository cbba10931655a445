//! Builds as traces: a span for each build, below it one for each step, below that one for each container.
//!
//! Ids follow from the build, so a trace goes on after a restart, whichever server drives the build then, and steps can be
//! told theirs before anything is sent. A span is given away when it ends. No value of a var is in one.

mod agents;
mod spans;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use jb_model::Timestamp;
use jb_store::BuildRecord;
use sha2::{Digest as _, Sha256};

pub(crate) use agents::{Invoked, Stories, Story, Told, approval_events, input_tokens};
pub(crate) use spans::{EndedStep, Marks, Steps, build_span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// One thing that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    /// None for a build's.
    pub parent: Option<SpanId>,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub begin: Timestamp,
    pub end: Timestamp,
    /// Why it counts as an error, in one word.
    pub error: Option<Cow<'static, str>>,
    pub attributes: Vec<(&'static str, Fact)>,
    /// What happened meanwhile, in order.
    pub events: Vec<SpanEvent>,
}

/// On which side of a call a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A build: it was asked for from outside.
    Server,
    Internal,
    /// A call to another service.
    Client,
}

/// What is said of a span or event.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Text(String),
    Texts(Vec<String>),
    Count(i64),
    Seconds(f64),
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Fact {
    fn from(count: u64) -> Self {
        Self::Count(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Fact {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

/// Something that happened at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    pub name: Cow<'static, str>,
    pub at: Timestamp,
    pub attributes: Vec<(&'static str, Fact)>,
}

impl SpanEvent {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, at: Timestamp) -> Self {
        Self { name: name.into(), at, attributes: Vec::new() }
    }
}

/// Takes spans. Without a receiver nothing is made of them.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<dyn Fn(Span) + Send + Sync>>);

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tracer").field(&self.is_on()).finish()
    }
}

impl Tracer {
    /// `receive` is called from where things end, so it must not wait.
    pub fn new(receive: impl Fn(Span) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(receive)))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn emit(&self, span: Span) {
        if let Some(receive) = &self.0 {
            receive(span);
        }
    }
}

/// Where a build's spans belong.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) trace: TraceId,
    /// The build's own span.
    pub(crate) root: SpanId,
}

impl Place {
    /// `installation` tells the builds of one from those of others: it is where people reach it.
    pub(crate) fn of(installation: &str, build: &BuildRecord) -> Self {
        let digest =
            Sha256::digest(format!("{installation}\n{}\n{}", build.id, build.created_at.0));
        Self { trace: TraceId(part(&digest)), root: SpanId(part(&digest[16..])) }
    }

    /// The span of a part of the build, by the part's name.
    pub(crate) fn span(&self, part_name: &str) -> SpanId {
        let mut digest = Sha256::new();
        digest.update(self.trace.0);
        digest.update(part_name);
        SpanId(part(&digest.finalize()))
    }

    /// The context for what runs within a span, as W3C writes it in headers and `TRACEPARENT`.
    pub(crate) fn context(&self, span: SpanId) -> String {
        format!("00-{}-{}-01", hex(&self.trace.0), hex(&span.0))
    }
}

fn part<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut id = [0; N];
    id.copy_from_slice(&digest[..N]);
    id
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
