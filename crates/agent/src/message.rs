//! What the built-in loop says to the model through the gateway, and answers put together again, in the words of each API.

mod anthropic;
mod chat;
mod responses;

use std::time::Duration;

use futures_util::StreamExt as _;
use jb_agent_protocol::Api;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exchange::error_of;
use crate::sse::Reader;

/// The longest answer, in tokens, that is asked for.
const ANSWER_TOKENS_MAX: u64 = 16_000;
/// Blocks of one answer.
const BLOCKS_MAX: usize = 256;
/// Bytes of one answer's texts and inputs.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Why the model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Asking again may help, after this time if the service says so.
    #[error("{message}")]
    Transient { message: String, after: Option<Duration> },
    #[error("{message}")]
    BudgetSpent { message: String },
    /// The conversation is longer than the model takes.
    #[error("{message}")]
    TooLong { message: String },
    /// Asking again would not help.
    #[error("{message}")]
    Final { message: String },
}

/// One message of a conversation. Those of the model and those to it take turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    User(String),
    Assistant(Vec<Block>),
    /// What the tools answered to the calls of the message before.
    Results(Vec<ToolAnswer>),
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolAnswer {
    pub id: String,
    pub text: String,
    pub is_error: bool,
}

/// One block of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Block {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    /// What only the service understands, and wants to be given again as it is.
    Kept(Value),
}

/// Why an answer ends where it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    #[default]
    Done,
    /// It may be gone on with.
    CutOff,
    Refused,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub blocks: Vec<Block>,
    pub stop: Stop,
}

impl Answer {
    /// As the next request repeats it; nothing when nothing was said.
    pub fn repeated(&self) -> Option<Message> {
        let blank = |block: &Block| matches!(block, Block::Text(text) if text.trim().is_empty());
        let blocks: Vec<Block> =
            self.blocks.iter().filter(|block| !blank(block)).cloned().collect();
        (!blocks.is_empty()).then_some(Message::Assistant(blocks))
    }
}

pub struct Client {
    http: reqwest::Client,
    api: Api,
    model: String,
    system: String,
    /// Each with `name`, `description` and `input_schema`.
    tools: Vec<Value>,
}

impl Client {
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(
        socket: &str,
        api: Api,
        model: String,
        system: String,
        tools: Vec<Value>,
    ) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .build()
            .map_err(|error| format!("set up the way to the gateway: {error}"))?;
        Ok(Self { http, api, model, system, tools })
    }

    /// Asks for the next answer of a conversation.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, messages: &[Message]) -> Result<Answer, AskError> {
        self.send(&self.request(&self.system, &self.tools, messages)).await
    }

    /// Asks something beside the conversation, without tools.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask_beside(&self, system: &str, text: &str) -> Result<Answer, AskError> {
        self.send(&self.request(system, &[], &[Message::User(text.to_owned())])).await
    }

    async fn send(&self, request: &Value) -> Result<Answer, AskError> {
        let answer = self
            .http
            .post(format!("http://gateway{}", self.api.path()))
            .json(request)
            .send()
            .await
            .map_err(|error| {
                transient(format!("the gateway does not answer: {}", root_cause(&error)))
            })?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
            .map(Duration::from_secs);
        if !status.is_success() {
            let body = answer.bytes().await.unwrap_or_default();
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            return Err(refused(status.as_u16(), &body, retry_after));
        }
        let mut reader = Reader::default();
        let mut assembly = Assembly::of(self.api);
        let mut body = answer.bytes_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| {
                transient(format!("the answer broke off: {}", root_cause(&error)))
            })?;
            for event in reader.push(&piece).map_err(transient)? {
                assembly.event(&event)?;
            }
        }
        assembly.finish()
    }

    fn request(&self, system: &str, tools: &[Value], messages: &[Message]) -> Value {
        let model = &self.model;
        match self.api {
            Api::Messages => anthropic::request(model, system, tools, messages),
            Api::Responses => responses::request(model, system, tools, messages),
            Api::Chat => chat::request(model, system, tools, messages),
        }
    }
}

/// An answer in the making.
enum Assembly {
    Messages(anthropic::Assembly),
    Responses(responses::Assembly),
    Chat(chat::Assembly),
}

impl Assembly {
    fn of(api: Api) -> Self {
        match api {
            Api::Messages => Self::Messages(Default::default()),
            Api::Responses => Self::Responses(Default::default()),
            Api::Chat => Self::Chat(Default::default()),
        }
    }

    fn event(&mut self, text: &str) -> Result<(), AskError> {
        match self {
            Self::Messages(assembly) => assembly.event(text),
            Self::Responses(assembly) => assembly.event(text),
            Self::Chat(assembly) => assembly.event(text),
        }
    }

    fn finish(self) -> Result<Answer, AskError> {
        match self {
            Self::Messages(assembly) => assembly.finish(),
            Self::Responses(assembly) => assembly.finish(),
            Self::Chat(assembly) => assembly.finish(),
        }
    }
}

fn transient(message: String) -> AskError {
    AskError::Transient { message, after: None }
}

fn garbage(what: &str) -> AskError {
    transient(format!("the model's answer makes no sense: {what}"))
}

fn no_input(name: &str) -> AskError {
    garbage(&format!("the input of its call of {name} is no JSON object"))
}

fn refused(status: u16, body: &Value, after: Option<Duration>) -> AskError {
    let message = error_of(body);
    match (status, body["error"]["type"].as_str()) {
        (_, Some("budget_spent")) => AskError::BudgetSpent {
            message: body["error"]["message"].as_str().unwrap_or(&message).to_owned(),
        },
        (400 | 413, _) if is_too_long(body) => {
            AskError::TooLong { message: format!("HTTP {status}: {message}") }
        }
        // More money is needed, not more patience.
        (429, Some("insufficient_quota")) => {
            AskError::Final { message: format!("HTTP {status}: {message}") }
        }
        (408 | 425 | 429 | 500..=599, _) => {
            AskError::Transient { message: format!("HTTP {status}: {message}"), after }
        }
        _ => AskError::Final { message: format!("HTTP {status}: {message}") },
    }
}

/// Services have no common word for it.
fn is_too_long(body: &Value) -> bool {
    let message = body["error"]["message"].as_str().unwrap_or_default();
    body["error"]["code"] == "context_length_exceeded"
        || ["prompt is too long", "maximum context length", "exceeds the context window"]
            .iter()
            .any(|words| message.contains(words))
}

pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The input of a tool call, which is a JSON object as text; an empty text is an empty one. None for anything else.
fn input_of(text: &str) -> Option<Value> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).ok().filter(Value::is_object)
}
