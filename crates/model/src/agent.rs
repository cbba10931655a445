//! The agent step as the language means it: what a coding agent shall do, and what it may.

use crate::value::Value;

mod approval;
mod context;
mod grant;
mod mcp;
pub mod network;

pub use approval::{AskedTool, ToolApproval};
pub use context::{ContextItem, ContextSource};
pub use grant::{GrantError, ShellGrant};
pub use mcp::{MCP_SERVERS_MAX, MCP_TOOLS_MAX, McpImage, McpProgram, McpServer, McpWay};
pub use network::{AgentNetwork, HOSTS_MAX, HostPattern};

/// What makes a container step an agent step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentConfig {
    pub harness: Harness,
    /// `provider/model`; empty means the server's default.
    pub model: String,
    /// What to do, with `((vars))` until the step runs. Empty when a file says it.
    pub prompt: String,
    /// `artifact/path` of a file that says what to do. Nothing in it is interpolated.
    pub prompt_file: String,
    /// What the agent is given to know, as files.
    pub context: Vec<ContextItem>,
    /// Everything the agent can do itself. What is in neither this nor `mcp` does not exist for it.
    pub tools: Vec<Tool>,
    /// Servers whose tools it has beside those.
    pub mcp: Vec<McpServer>,
    /// What its programs reach.
    pub network: AgentNetwork,
    pub result: Option<ResultSchema>,
    pub verdict: Option<Verdict>,
    pub budget: Budget,
    /// What waits for people before it is done.
    pub approval: Option<ToolApproval>,
}

/// The program that talks to the model and calls tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Harness {
    /// Our own loop.
    #[default]
    Builtin,
    /// Command lines of others, which the step's image has.
    ClaudeCode,
    Codex,
    OpenCode,
}

impl Harness {
    pub const ALL: [Self; 4] = [Self::Builtin, Self::ClaudeCode, Self::Codex, Self::OpenCode];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|harness| harness.as_str() == name)
    }
}

/// One tool an agent is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Read files and list directories of inputs and outputs.
    Read,
    /// Replace exact text in files of outputs.
    Edit,
    /// Write whole files of outputs.
    Write,
    /// Find lines in files of inputs and outputs.
    Search,
    /// Run programs whose arguments match one of these.
    Shell(Vec<ShellGrant>),
}

impl Tool {
    /// The tools that are named without anything more.
    pub const PLAIN: [(&'static str, Self); 4] = [
        ("read", Self::Read),
        ("edit", Self::Edit),
        ("write", Self::Write),
        ("search", Self::Search),
    ];

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Edit => "edit",
            Self::Write => "write",
            Self::Search => "search",
            Self::Shell(_) => "shell",
        }
    }
}

/// What the agent's result must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum ResultSchema {
    /// A JSON Schema.
    Inline(Value),
    /// `artifact/path` of one.
    File(String),
}

/// How the result decides whether the step succeeds. Values that are in neither list are inconclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The field of the result that holds it.
    pub from: String,
    pub pass: Vec<String>,
    pub fail: Vec<String>,
    /// Whether the step succeeds without a verdict.
    pub inconclusive_passes: bool,
}

/// How a verdict was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Pass,
    Fail,
    Inconclusive,
}

impl Verdict {
    /// Judges a result; none at all is inconclusive, and so is a value of neither list.
    pub fn judge(&self, result: Option<&Value>) -> Judgement {
        let said = result.and_then(|result| result.get(&self.from)).and_then(Value::as_str);
        match said {
            Some(said) if self.fail.iter().any(|value| value == said) => Judgement::Fail,
            Some(said) if self.pass.iter().any(|value| value == said) => Judgement::Pass,
            _ => Judgement::Inconclusive,
        }
    }

    /// The schema of a result that nobody described otherwise: the verdict, and why.
    pub fn schema(&self) -> Value {
        let mut values: Vec<&str> =
            self.pass.iter().chain(&self.fail).map(String::as_str).collect();
        if !values.contains(&"inconclusive") {
            values.push("inconclusive");
        }
        serde_json::json!({
            "type": "object",
            "properties": {
                &self.from: {"type": "string", "enum": values},
                "reason": {"type": "string"},
            },
            "required": [&self.from, "reason"],
        })
    }
}

/// What the step may use up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// A duration as written; empty means no limit of its own.
    pub time: String,
    /// Answers of the model.
    pub turns: Option<u32>,
    /// Tokens in and out, those read from a cache included.
    pub tokens: Option<u64>,
    /// Millionths of a US dollar.
    pub cost_micros: Option<u64>,
}

#[cfg(test)]
mod tests;
