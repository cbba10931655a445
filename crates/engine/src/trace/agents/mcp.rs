//! Calls of MCP servers' tools, as the gateway saw them: spans of a client, below those of the tools that agents called.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jb_agent_protocol::Entry;
use jb_agent_protocol::transcript::ToolOutcome;
use jb_model::Timestamp;
use jb_model::agent::McpServer;

use super::{Fact, Told};

/// The protocol's word for it.
pub(super) const METHOD: &str = "tools/call";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    server: String,
    /// As the server calls it.
    pub(super) tool: String,
    protocol: String,
    transport: String,
    pub(super) begin: Timestamp,
    pub(super) took: Duration,
    /// Empty when all is well.
    pub(super) error: &'static str,
}

impl Call {
    /// What a line of the gateway's, which was said at its end, tells of one.
    pub(super) fn of(entry: &Entry, end: Timestamp) -> Option<Self> {
        let Entry::McpCall { server, tool, outcome, protocol, transport, total_ms } = entry else {
            return None;
        };
        let took = Duration::from_millis(*total_ms);
        Some(Self {
            server: server.clone(),
            tool: tool.clone(),
            protocol: protocol.clone(),
            transport: transport.clone(),
            begin: end.before(took),
            took,
            error: if *outcome == ToolOutcome::Ok { "" } else { "tool_error" },
        })
    }

    pub(super) fn facts(&self) -> Vec<(&'static str, Fact)> {
        let mut facts = vec![
            ("gen_ai.operation.name", "execute_tool".into()),
            ("gen_ai.tool.name", self.tool.as_str().into()),
            ("mcp.method.name", METHOD.into()),
            ("network.transport", self.transport.as_str().into()),
            ("jetbridge.mcp.server", self.server.as_str().into()),
        ];
        if !self.protocol.is_empty() {
            facts.push(("mcp.protocol.version", self.protocol.as_str().into()));
        }
        facts
    }
}

/// The agent's calls of tools by their names, in order. Those of one name reach its server in that order, whatever the
/// clocks of the two containers say.
pub(super) struct Callers(HashMap<String, VecDeque<usize>>);

impl Callers {
    pub(super) fn of(parts: &[Told]) -> Self {
        let mut callers: HashMap<String, VecDeque<usize>> = HashMap::new();
        for (index, part) in parts.iter().enumerate() {
            if let Told::Tool(tool) = part
                && tool.error != "denied"
            {
                callers.entry(tool.name.clone()).or_default().push_back(index);
            }
        }
        Self(callers)
    }

    /// Whose call it was.
    pub(super) fn take(&mut self, call: &Call) -> Option<usize> {
        self.0.get_mut(&McpServer::offered_name(&call.server, &call.tool))?.pop_front()
    }
}
