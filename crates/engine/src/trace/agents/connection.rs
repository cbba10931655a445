//! Connections of agents' programs through the gateway's proxy, as it saw them: spans of a client, below the agent's. Nobody
//! tells which call's program it was.

use std::time::Duration;

use jb_agent_protocol::Entry;
use jb_agent_protocol::network::ConnectionOutcome;
use jb_model::Timestamp;

use super::Fact;

/// HTTP's word for it.
pub(super) const METHOD: &str = "CONNECT";
/// The longest name that the domain name system has.
const HOST_BYTES_MAX: usize = 253;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Connection {
    /// As it was asked for; none where that was not a name and a port.
    host: String,
    port: Option<u16>,
    /// Empty when nothing was reached.
    address: String,
    outcome: ConnectionOutcome,
    sent_bytes: u64,
    received_bytes: u64,
    pub(super) begin: Timestamp,
    pub(super) took: Duration,
}

impl Connection {
    /// What a line of the gateway's, which was said at its end, tells of one.
    pub(super) fn of(entry: &Entry, end: Timestamp) -> Option<Self> {
        let Entry::Connection {
            host, outcome, address, sent_bytes, received_bytes, total_ms, ..
        } = entry
        else {
            return None;
        };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (host.as_str(), None),
        };
        let took = Duration::from_millis(*total_ms);
        Some(Self {
            host: name.chars().take(HOST_BYTES_MAX).collect(),
            port,
            address: address.clone(),
            outcome: *outcome,
            sent_bytes: *sent_bytes,
            received_bytes: *received_bytes,
            begin: end.before(took),
            took,
        })
    }

    /// Empty when it was let through.
    pub(super) const fn error(&self) -> &'static str {
        match self.outcome {
            ConnectionOutcome::Allowed => "",
            ConnectionOutcome::Denied => "denied",
            ConnectionOutcome::Failed => "failed",
        }
    }

    pub(super) fn facts(&self) -> Vec<(&'static str, Fact)> {
        let outcome = match self.error() {
            "" => "allowed",
            error => error,
        };
        let mut facts = vec![
            ("http.request.method", METHOD.into()),
            ("server.address", self.host.as_str().into()),
            ("network.transport", "tcp".into()),
            ("jetbridge.proxy.outcome", outcome.into()),
            ("jetbridge.proxy.sent_bytes", self.sent_bytes.into()),
            ("jetbridge.proxy.received_bytes", self.received_bytes.into()),
        ];
        if let Some(port) = self.port {
            facts.push(("server.port", u32::from(port).into()));
        }
        if !self.address.is_empty() {
            facts.push(("network.peer.address", self.address.as_str().into()));
        }
        facts
    }
}
