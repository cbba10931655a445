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
/// The largest message of a server that is read; an endless one is broken off there.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Has a directory for each server that is a program, which its container and the gateway's share.
const SOCKETS_DIR: &str = "/run/jetbridge-mcp";
/// The socket's name in that directory.
pub const SOCKET: &str = "server.sock";
/// The longest text of an answer that is handed on.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// Where a server's tools are, below the gateway's address.
pub fn path(server: &str) -> String {
    format!("{PATH}{server}")
}

/// The directory that a server's container shares with the gateway's, in both.
pub fn socket_dir(server: &str) -> String {
    format!("{SOCKETS_DIR}/{server}")
}

/// What a harness knows of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name in the pipeline.
    pub server: String,
    /// The tools that are granted, as the server calls them.
    pub tools: Vec<String>,
}

/// What the gateway knows of one. What it is sent may hold secrets, so it has no debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name in the pipeline.
    pub name: String,
    /// The tools that are granted, as the server calls them.
    pub tools: Vec<String>,
    #[serde(flatten)]
    pub way: Way,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Way {
    Http {
        url: String,
        /// Sent with every request.
        headers: BTreeMap<String, String>,
    },
    /// It is a program in a container of its own.
    Program {
        /// Where its stdin and stdout are. A [`ProgramSpec`] has the other end.
        socket: String,
        /// What it is called in messages.
        command: String,
        /// What it was started with; secrets in that are masked in what it answers.
        sent: Vec<String>,
    },
}

/// The status of a `jb-agent serve` that could not begin, and so never let anybody have the server. However it goes on after
/// that, it is another.
pub const NEVER_BEGAN: i32 = 1;

/// What `jb-agent serve` is told, which starts a server that is a program. Its words may hold secrets, so it has no debug
/// output. The server's environment is that of the process.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSpec {
    /// The server's name in the pipeline.
    pub name: String,
    /// Where to wait for the gateway.
    pub socket: String,
    /// The program and its arguments.
    pub command: Vec<String>,
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
