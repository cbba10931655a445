//! The client of Anthropic's Messages API: what the built-in loop says to the gateway, and answers put together again.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

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
    /// Asking again would not help.
    #[error("{message}")]
    Final { message: String },
}

/// One block of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Text(String),
    ToolUse { id: String, name: String, input: Value },
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub blocks: Vec<Block>,
    pub stop_reason: String,
}

impl Answer {
    /// As the next request repeats it.
    pub fn content(&self) -> Vec<Value> {
        let blocks = self.blocks.iter().filter_map(|block| match block {
            Block::Text(text) if text.trim().is_empty() => None,
            Block::Text(text) => Some(json!({"type": "text", "text": text})),
            Block::ToolUse { id, name, input } => {
                Some(json!({"type": "tool_use", "id": id, "name": name, "input": input}))
            }
        });
        blocks.collect()
    }
}

pub struct Client {
    http: reqwest::Client,
    model: String,
    system: String,
    tools: Vec<Value>,
}

impl Client {
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(
        socket: &str,
        model: String,
        system: String,
        tools: Vec<Value>,
    ) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .build()
            .map_err(|error| format!("set up the way to the gateway: {error}"))?;
        Ok(Self { http, model, system, tools })
    }

    /// Asks for the next answer of a conversation.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, messages: &[Value]) -> Result<Answer, AskError> {
        let answer = self
            .http
            .post("http://gateway/v1/messages")
            .header("x-api-key", jb_agent_protocol::PLACEHOLDER_KEY)
            .json(&self.request(messages))
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
        let mut assembly = Assembly::default();
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

    /// The beginning of the conversation is marked as worth keeping, and so is its end: the next request repeats it.
    fn request(&self, messages: &[Value]) -> Value {
        let keep = json!({"type": "ephemeral"});
        let mut messages = messages.to_vec();
        if let Some(last) = messages.last_mut()
            && let Some(block) = last["content"].as_array_mut().and_then(|blocks| blocks.last_mut())
        {
            block["cache_control"] = keep.clone();
        }
        let mut request = json!({
            "model": self.model,
            "max_tokens": ANSWER_TOKENS_MAX,
            "stream": true,
            "system": [{"type": "text", "text": self.system, "cache_control": keep}],
            "messages": messages,
        });
        if !self.tools.is_empty() {
            request["tools"] = Value::Array(self.tools.clone());
        }
        request
    }
}

fn transient(message: String) -> AskError {
    AskError::Transient { message, after: None }
}

fn refused(status: u16, body: &Value, after: Option<Duration>) -> AskError {
    let message = error_of(body);
    match (status, body["error"]["type"].as_str()) {
        (_, Some("budget_spent")) => AskError::BudgetSpent {
            message: body["error"]["message"].as_str().unwrap_or(&message).to_owned(),
        },
        (408 | 425 | 429 | 500..=599, _) => {
            AskError::Transient { message: format!("HTTP {status}: {message}"), after }
        }
        _ => AskError::Final { message: format!("HTTP {status}: {message}") },
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// An answer in the making.
#[derive(Debug, Default)]
struct Assembly {
    blocks: Vec<Building>,
    stop_reason: Option<String>,
    bytes: usize,
    ended: bool,
}

#[derive(Debug)]
enum Building {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: String,
    },
    /// Of a kind that this loop has no use for.
    Other,
}

impl Assembly {
    fn event(&mut self, text: &str) -> Result<(), AskError> {
        let garbage = |what: &str| transient(format!("the model's answer makes no sense: {what}"));
        let event: Value =
            serde_json::from_str(text).map_err(|_| garbage("an event is no JSON"))?;
        match event["type"].as_str() {
            Some("content_block_start") => {
                let block = &event["content_block"];
                let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
                if event["index"].as_u64() != Some(self.blocks.len() as u64) {
                    return Err(garbage("blocks come out of order"));
                }
                if self.blocks.len() == BLOCKS_MAX {
                    return Err(garbage("it has too many blocks"));
                }
                self.blocks.push(match block["type"].as_str() {
                    Some("text") => Building::Text(text("text")),
                    Some("tool_use") => {
                        let (id, name) = (text("id"), text("name"));
                        if id.is_empty() || name.is_empty() {
                            return Err(garbage("a tool call has no id or name"));
                        }
                        Building::ToolUse { id, name, input: String::new() }
                    }
                    _ => Building::Other,
                });
            }
            Some("content_block_delta") => {
                let index = event["index"].as_u64().and_then(|index| usize::try_from(index).ok());
                let block = index.and_then(|index| self.blocks.get_mut(index));
                let delta = &event["delta"];
                let (into, more) = match (block, delta["type"].as_str()) {
                    (Some(Building::Text(into)), Some("text_delta")) => (into, &delta["text"]),
                    (Some(Building::ToolUse { input, .. }), Some("input_json_delta")) => {
                        (input, &delta["partial_json"])
                    }
                    (Some(Building::Other), _) => return Ok(()),
                    _ => return Err(garbage("a piece belongs to no block")),
                };
                let more = more.as_str().unwrap_or_default();
                self.bytes += more.len();
                if self.bytes > ANSWER_BYTES_MAX {
                    return Err(garbage("it is too long"));
                }
                into.push_str(more);
            }
            Some("message_delta") => {
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.stop_reason = Some(reason.to_owned());
                }
            }
            Some("message_stop") => self.ended = true,
            Some("error") => {
                return Err(refused(500, &event, None));
            }
            // Pings, the start and the end of blocks, and what there may be one day.
            Some(_) => {}
            None => return Err(garbage("an event has no type")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Answer, AskError> {
        if !self.ended {
            return Err(transient("the answer was cut off".to_owned()));
        }
        let stop_reason = self.stop_reason.unwrap_or_default();
        let mut blocks = Vec::new();
        for block in self.blocks {
            match block {
                Building::Text(text) => blocks.push(Block::Text(text)),
                Building::ToolUse { id, name, input } => {
                    let input = if input.trim().is_empty() { "{}" } else { &input };
                    match serde_json::from_str(input) {
                        Ok(input @ Value::Object(_)) => {
                            blocks.push(Block::ToolUse { id, name, input });
                        }
                        // Cut off in the middle of a call, which is then as good as not made.
                        _ if stop_reason == "max_tokens" => {}
                        _ => {
                            return Err(transient(format!(
                                "the model's answer makes no sense: the input of its call of {name} is no JSON object"
                            )));
                        }
                    }
                }
                Building::Other => {}
            }
        }
        Ok(Answer { blocks, stop_reason })
    }
}

#[cfg(test)]
mod tests;
