//! Anthropic's Messages API.

use serde_json::{Value, json};

use super::{
    ANSWER_BYTES_MAX, ANSWER_TOKENS_MAX, Answer, AskError, BLOCKS_MAX, Block, Message, Stop,
    garbage, input_of, no_input, refused, transient,
};

/// The tools, the words before the conversation, and the ends of the last two turns to the model are marked as worth
/// keeping: the next request repeats all of it. The turn before the last is marked, too, as the service looks back only so
/// far, and an answer with many calls is long. Four marks are all that there may be.
pub(super) fn request(model: &str, system: &str, tools: &[Value], messages: &[Message]) -> Value {
    let keep = json!({"type": "ephemeral"});
    let mut messages: Vec<Value> = messages.iter().map(message).collect();
    for turn in messages.iter_mut().rev().filter(|turn| turn["role"] == "user").take(2) {
        if let Some(block) = turn["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
            block["cache_control"] = keep.clone();
        }
    }
    let mut request = json!({
        "model": model,
        "max_tokens": ANSWER_TOKENS_MAX,
        "stream": true,
        "system": [{"type": "text", "text": system, "cache_control": keep}],
        "messages": messages,
    });
    if !tools.is_empty() {
        let mut tools = tools.to_vec();
        if let Some(last) = tools.last_mut() {
            last["cache_control"] = json!({"type": "ephemeral"});
        }
        request["tools"] = Value::Array(tools);
    }
    request
}

fn message(message: &Message) -> Value {
    let (role, content): (_, Vec<Value>) = match message {
        Message::User(text) => ("user", vec![json!({"type": "text", "text": text})]),
        Message::Assistant(blocks) => ("assistant", blocks.iter().filter_map(block).collect()),
        Message::Results(results) => {
            let result = |result: &super::ToolAnswer| {
                json!({
                    "type": "tool_result",
                    "tool_use_id": result.id,
                    "content": result.text,
                    "is_error": result.is_error,
                })
            };
            ("user", results.iter().map(result).collect())
        }
    };
    json!({"role": role, "content": content})
}

fn block(block: &Block) -> Option<Value> {
    match block {
        Block::Text(text) => Some(json!({"type": "text", "text": text})),
        Block::ToolUse { id, name, input } => {
            Some(json!({"type": "tool_use", "id": id, "name": name, "input": input}))
        }
        Block::Kept(_) => None,
    }
}

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Assembly {
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
    pub(super) fn event(&mut self, text: &str) -> Result<(), AskError> {
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

    pub(super) fn finish(self) -> Result<Answer, AskError> {
        if !self.ended {
            return Err(transient("the answer was cut off".to_owned()));
        }
        let stop_reason = self.stop_reason.unwrap_or_default();
        let mut blocks = Vec::new();
        for block in self.blocks {
            match block {
                Building::Text(text) => blocks.push(Block::Text(text)),
                Building::ToolUse { id, name, input } => {
                    match input_of(&input) {
                        Some(input) => blocks.push(Block::ToolUse { id, name, input }),
                        // Cut off in the middle of a call, which is then as good as not made.
                        None if stop_reason == "max_tokens" => {}
                        None => return Err(no_input(&name)),
                    }
                }
                Building::Other => {}
            }
        }
        let stop = match stop_reason.as_str() {
            "refusal" => Stop::Refused,
            "max_tokens" | "pause_turn" => Stop::CutOff,
            _ => Stop::Done,
        };
        Ok(Answer { blocks, stop })
    }
}

#[cfg(test)]
mod tests;
