//! What a harness and its gateway say to each other about the tools of MCP servers.
//!
//! The gateway is the servers' only client. A harness asks it at `/mcp/SERVER`: a `GET` is answered with the granted
//! [`Tool`]s, a `POST` of a [`Call`] with an [`Answer`]. Any other status than 200 has an error in the shape of the model
//! service's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::transcript::ToolOutcome;

/// What all these paths begin with.
pub const PATH: &str = "/mcp/";
/// The longest text of an answer that is handed on.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// Where a server's tools are, below the gateway's address.
pub fn path(server: &str) -> String {
    format!("{PATH}{server}")
}

/// What a harness knows of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name in the pipeline.
    pub server: String,
    /// The tools that are granted, as the server calls them.
    pub tools: Vec<String>,
}

/// What the gateway knows of one. Its headers may hold secrets, so it has no debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name in the pipeline.
    pub name: String,
    pub url: String,
    /// The tools that are granted, as the server calls them.
    pub tools: Vec<String>,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A granted tool as its server describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of what it is called with.
    pub input_schema: Map<String, Value>,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// As its server calls it.
    pub name: String,
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: ToolOutcome,
    /// At most [`TEXT_BYTES_MAX`] and a mark of how much is missing.
    pub text: String,
}
