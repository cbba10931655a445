//! What the server, an agent's harness and its gateway say to each other, as plain data.
//!
//! The harness runs in the step's container and the gateway in one of its own. Each is told what to do by one JSON
//! document on its stdin, and says what happens in lines of JSON on its stdout, of which the runner keeps a journal.
//! The server turns those lines into the step's transcript ([`transcript`]) and into readable log text ([`log_text`]).

pub mod approval;
pub mod command_line;
mod log_text;
pub mod mcp;
pub mod network;
pub mod recording;
pub mod suspension;
pub mod transcript;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use command_line::CommandLine;
pub use log_text::log_text;
pub use transcript::{AnswerFacts, Entry, Line, Source};

/// The directory that an agent's container and its gateway's share, and nobody else.
pub const SOCKET_DIR: &str = "/run/jetbridge";
/// Where in it the gateway listens.
pub const SOCKET: &str = "/run/jetbridge/gateway.sock";
/// Where the gateway keeps its recording, in its own container.
pub const RECORDING_DIR: &str = "/var/lib/jetbridge";
/// The recording's name in that directory.
pub const RECORDING_FILE: &str = "recording.jsonl";
/// Where a gateway finds the recording that it answers from.
pub const REPLAY_DIR: &str = "/var/lib/jetbridge-replay";
/// What the agent has in place of a key.
pub const PLACEHOLDER_KEY: &str = "held-by-the-gateway";
/// The name of the tool by which an agent hands its result in.
pub const RESULT_TOOL: &str = "submit_result";
/// How the gateway's words begin when it lets nothing through any more.
pub const BUDGET_SPENT: &str = "the step's budget is spent";
/// What stands where a secret was.
pub const REDACTED: &str = "((redacted))";
/// The largest result, as JSON text.
pub const RESULT_BYTES_MAX: usize = 256 << 10;
/// The longest line a harness or gateway writes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a harness is told: the built-in loop, or the driver of somebody else's command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoopSpec {
    /// The step's name.
    pub name: String,
    /// As the provider calls it.
    pub model: String,
    /// How the model is spoken to.
    #[serde(default)]
    pub api: Api,
    pub prompt: String,
    /// The gateway's socket.
    pub socket: String,
    /// Where relative paths begin and programs are started.
    pub working_dir: String,
    /// The directories that file tools work in.
    pub roots: Vec<Root>,
    pub tools: Vec<ToolGrant>,
    /// The MCP servers that the gateway calls for it.
    #[serde(default)]
    pub mcp: Vec<mcp::Grant>,
    /// What its programs reach.
    #[serde(default)]
    pub network: network::Reach,
    /// Which calls wait for people.
    #[serde(default)]
    pub asked: approval::Asked,
    /// None where it waits for them however long they take.
    #[serde(default)]
    pub suspension: Option<suspension::Suspension>,
    /// The JSON Schema of the result, when there is to be one.
    pub result_schema: Option<Value>,
    /// Addresses that must not answer before anything begins. `host:port`.
    pub forbidden: Vec<String>,
    /// Milliseconds before a request is made again the first time; each further time twice as long.
    pub retry_pause_ms: u64,
    /// How many tokens the model takes in at most. The built-in loop keeps its conversation shorter.
    #[serde(default = "default_context_tokens")]
    pub context_tokens: u64,
}

/// What models take in that nobody said it of.
pub const CONTEXT_TOKENS: u64 = 200_000;

const fn default_context_tokens() -> u64 {
    CONTEXT_TOKENS
}

/// A directory that file tools work in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Absolute.
    pub path: String,
    pub writable: bool,
    /// The directory in it, if any, whose texts strangers may have written.
    #[serde(default)]
    pub untrusted: Option<String>,
}

/// Where what an agent is given to know lies, in its working directory.
pub const CONTEXT_DIR: &str = ".context";
/// What lies there, as JSON.
pub const CONTEXT_MANIFEST: &str = "manifest.json";
/// The part of it that strangers may have written.
pub const CONTEXT_UNTRUSTED: &str = "untrusted";

/// One granted tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolGrant {
    Read,
    Edit,
    Write,
    Search,
    /// The patterns as written.
    Shell(Vec<String>),
}

/// What a gateway is told. Holds the key, so it has no debug output.
#[derive(Clone, Serialize, Deserialize)]
pub struct GatewaySpec {
    /// The socket to listen at.
    pub socket: String,
    pub upstream: Upstream,
    /// Whose the models are; recordings say so.
    #[serde(default)]
    pub provider: String,
    /// What each model costs, by the provider's name of it. Others are refused.
    pub models: BTreeMap<String, Prices>,
    pub budget: GatewayBudget,
    /// What gateways before it let through for the same step.
    #[serde(default)]
    pub spent: Spent,
    /// Whether the harness begins anew and asks all that was let through before once more: it is told the same from the
    /// recording, and nothing of it counts again.
    #[serde(default)]
    pub over_again: bool,
    /// The MCP servers that it reaches.
    #[serde(default)]
    pub mcp: Vec<mcp::Server>,
    /// What the agent's programs reach through it; there is no proxy without it.
    #[serde(default)]
    pub proxy: Option<network::Proxy>,
    /// Where to write the recording; none is made without it.
    pub recording: Option<String>,
    /// Texts that are masked in the recording; those of them that MCP servers are sent, also in what these answer.
    pub redact: Vec<String>,
    /// Milliseconds after which a model service that says nothing is given up, and an MCP server that has not answered.
    pub idle_timeout_ms: u64,
    /// How many tokens the models take in; recordings say so.
    #[serde(default = "default_context_tokens")]
    pub context_tokens: u64,
}

/// Where answers come from.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Upstream {
    /// A service with this API.
    Service { api: Api, url: String, key: String },
    /// A recording of what was said in this API.
    Replay { api: Api, path: String },
}

impl Upstream {
    pub const fn api(&self) -> Api {
        match self {
            Self::Service { api, .. } | Self::Replay { api, .. } => *api,
        }
    }
}

/// How a model is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Anthropic's Messages.
    #[default]
    Messages,
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's Chat Completions.
    Chat,
}

impl Api {
    pub const ALL: [Self; 3] = [Self::Messages, Self::Responses, Self::Chat];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Chat => "chat",
        }
    }

    /// What is asked for, below the service's address.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// Millionths of a US dollar for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prices {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

/// Tokens of one or more answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
}

impl Usage {
    pub fn total(&self) -> u64 {
        [self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    pub fn add(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
    }

    /// Millionths of a US dollar, rounded up.
    pub fn cost_micros(&self, prices: &Prices) -> u64 {
        let parts = [
            (self.input_tokens, prices.input),
            (self.output_tokens, prices.output),
            (self.cache_read_tokens, prices.cache_read),
            (self.cache_write_tokens, prices.cache_write),
        ];
        let sum: u128 = parts.iter().map(|(n, price)| u128::from(*n) * u128::from(*price)).sum();
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// What was let through for a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// To the model, answered or not.
    pub requests: u32,
    /// Those that were answered.
    pub turns: u32,
    #[serde(flatten)]
    pub usage: Usage,
    pub cost_micros: u64,
}

/// What a gateway lets through; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayBudget {
    /// Answered requests to the model.
    pub turns: Option<u32>,
    pub tokens: Option<u64>,
    pub cost_micros: Option<u64>,
}

impl GatewayBudget {
    /// The limit that is used up, if any.
    pub fn exceeded(&self, turns: u32, used: Usage, cost_micros: u64) -> Option<Limit> {
        let limits = [
            (LimitKind::Turns, u64::from(turns), self.turns.map(u64::from)),
            (LimitKind::Tokens, used.total(), self.tokens),
            (LimitKind::Cost, cost_micros, self.cost_micros),
        ];
        limits.into_iter().find_map(|(kind, used, limit)| {
            let limit = limit.filter(|limit| used >= *limit)?;
            Some(Limit { kind, used, limit })
        })
    }
}

/// A limit that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    #[serde(rename = "limit_of")]
    pub kind: LimitKind,
    pub used: u64,
    pub limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    Turns,
    Tokens,
    Cost,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            LimitKind::Turns => write!(f, "{} of {} turns", self.used, self.limit),
            LimitKind::Tokens => write!(f, "{} of {} tokens", self.used, self.limit),
            LimitKind::Cost => write!(f, "{} of {}", Dollars(self.used), Dollars(self.limit)),
        }
    }
}

/// Millionths of a US dollar, shown as dollars.
pub struct Dollars(pub u64);

impl std::fmt::Display for Dollars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "${}.{:04}", self.0 / 1_000_000, self.0 % 1_000_000 / 100)
    }
}

#[cfg(test)]
mod tests;
