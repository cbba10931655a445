//! What happens in an agent step, entry by entry.
//!
//! An entry that is written stays readable: fields are added, never renamed, and readers ignore what they do not know.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::network::{ConnectionOutcome, Reach};
use crate::{Limit, Usage};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Harness,
    Gateway,
    /// An MCP server that is a program, or whoever starts it.
    Server,
}

/// One line of the stdout of a harness, a gateway, or a server's program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the Unix epoch.
    pub time_us: i64,
    #[serde(flatten)]
    pub entry: Entry,
}

/// What is said of an answer, by whom it knows. Each is empty where nobody said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerFacts {
    /// Whose the model is, as the server's settings name it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// As the service calls the answer, and the model that gave it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub response_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub response_model: String,
    /// Why it ends, in the service's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub finish_reason: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// The harness begins.
    Start { harness: String, version: String, model: String, tools: Vec<String> },
    /// What the agent's programs reach, where that is more than nothing.
    Network {
        #[serde(flatten)]
        reach: Reach,
    },
    /// What the agent is asked.
    Prompt { text: String },
    /// What the model says.
    Text { text: String },
    /// The model wants a tool.
    ToolCall { id: String, name: String, input: Value },
    /// A call waits for people.
    ApprovalAsked {
        /// What answers are told apart by; unlike the model's ids of calls it is the harness's own.
        id: String,
        /// The model's id of the call.
        call: String,
        name: String,
        /// Whole.
        input: Value,
    },
    /// People decided about it.
    ApprovalAnswered { id: String, approved: bool, by: String, comment: String },
    /// Nothing is to be done until people decide: the harness stops, to go on from where it is. Its last line for now.
    Suspended {
        /// How often it stopped before.
        run: u32,
        /// The id of what has to be decided before it goes on.
        needs: String,
        /// The SHA-256 of what it left to go on from.
        digest: String,
    },
    /// What it would go on from cannot be kept: it waits for people where it is. Said once.
    SuspendFailed { reason: String },
    /// It goes on. The first line of what is started anew.
    Resumed {
        /// How often it stopped before.
        run: u32,
    },
    /// What became of a tool call. `bytes` is the length of what the tool answered; `text` may be shorter.
    ToolResult { id: String, name: String, outcome: ToolOutcome, text: String, bytes: u64 },
    /// A request to the model that went through the gateway.
    ModelCall {
        number: u32,
        model: String,
        #[serde(flatten)]
        answer: AnswerFacts,
        /// HTTP's; 0 when there was no answer.
        status: u16,
        #[serde(flatten)]
        usage: Usage,
        cost_micros: u64,
        /// Milliseconds until the first byte of the answer.
        first_byte_ms: u64,
        /// Milliseconds until its end.
        total_ms: u64,
        /// Why there is no whole answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A connection that a program of the agent's asked the gateway's proxy for. It is over.
    Connection {
        /// With its port, as it was asked for.
        host: String,
        outcome: ConnectionOutcome,
        /// Why it was not let through, or ended; empty when the ends were done.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// The host's that was reached.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        address: String,
        /// From the program to the host.
        sent_bytes: u64,
        /// From the host to the program.
        received_bytes: u64,
        total_ms: u64,
    },
    /// The conversation was about to be too long for the model: its older part is replaced by a summary.
    Compacted {
        /// How many messages were summarised.
        messages: u32,
        /// About how many tokens the conversation had.
        tokens: u64,
        summary: String,
    },
    /// A request to the model is made again.
    Retry { reason: String, after_ms: u64 },
    /// The gateway lets nothing through any more.
    BudgetSpent {
        #[serde(flatten)]
        limit: Limit,
    },
    /// What the step used in all so far. The gateway's last line; of an agent that goes on there are several.
    Spent {
        turns: u32,
        #[serde(flatten)]
        usage: Usage,
        cost_micros: u64,
    },
    /// A request that the recording does not have.
    ReplayMismatch { number: u32, difference: String },
    /// A call of an MCP server's tool that went through the gateway.
    McpCall {
        server: String,
        /// As the server calls it.
        tool: String,
        outcome: ToolOutcome,
        /// The protocol's revision that was spoken; empty when none was.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        protocol: String,
        /// `tcp`, or `pipe` to a server that is a program.
        transport: String,
        /// Milliseconds until its answer.
        total_ms: u64,
    },
    /// What an MCP server that is a program writes to its stderr.
    ServerText { server: String, text: String },
    /// An MCP server that is a program ended before it was told to. It is not started again.
    ServerEnded { server: String, message: String },
    /// A result that does not keep to its schema, and was handed back.
    ResultRefused { errors: Vec<String>, attempt: u32 },
    /// The harness ends. Its last line.
    End {
        ending: Ending,
        /// Why, in one line; empty when all is well.
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolOutcome {
    Ok,
    /// The tool failed, or a program ended with another status than 0.
    Failed,
    /// Not granted, or denied by people.
    Denied,
}

/// How a harness ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The agent is done.
    Completed,
    /// It is done, without the result it was asked for.
    NoResult,
    /// A limit stopped it.
    BudgetSpent,
    /// The model refused, or what it said could not be used.
    Refused,
    /// The model could not be reached.
    ModelFailed,
    /// Something that must not answer did.
    EgressNotEnforced,
    /// The harness itself failed.
    Failed,
}
