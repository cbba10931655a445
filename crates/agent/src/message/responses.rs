//! OpenAI's Responses API. Nothing is kept at the service: every request has the whole conversation.

use serde_json::{Value, json};

use super::{
    ANSWER_BYTES_MAX, ANSWER_TOKENS_MAX, Answer, AskError, BLOCKS_MAX, Block, Message, Stop,
    garbage, input_of, no_input, refused, transient,
};

pub(super) fn request(model: &str, system: &str, tools: &[Value], messages: &[Message]) -> Value {
    let mut request = json!({
        "model": model,
        "max_output_tokens": ANSWER_TOKENS_MAX,
        "stream": true,
        "store": false,
        "include": ["reasoning.encrypted_content"],
        "instructions": system,
        "input": messages.iter().flat_map(items).collect::<Vec<_>>(),
    });
    if !tools.is_empty() {
        request["tools"] = tools.iter().map(function).collect();
    }
    request
}

fn function(tool: &Value) -> Value {
    json!({
        "type": "function",
        "name": tool["name"],
        "description": tool["description"],
        "parameters": tool["input_schema"],
        "strict": false,
    })
}

fn items(message: &Message) -> Vec<Value> {
    match message {
        Message::User(text) => {
            let content = json!([{"type": "input_text", "text": text}]);
            vec![json!({"type": "message", "role": "user", "content": content})]
        }
        Message::Assistant(blocks) => blocks.iter().map(item).collect(),
        Message::Results(results) => {
            let results = results.iter().map(|result| {
                let output = super::chat::told(result);
                json!({"type": "function_call_output", "call_id": result.id, "output": output})
            });
            results.collect()
        }
    }
}

fn item(block: &Block) -> Value {
    match block {
        Block::Text(text) => {
            let content = json!([{"type": "output_text", "text": text}]);
            json!({"type": "message", "role": "assistant", "content": content})
        }
        Block::ToolUse { id, name, input } => {
            let arguments = input.to_string();
            json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments})
        }
        Block::Kept(item) => item.clone(),
    }
}

/// An answer in the making, from its whole items.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    blocks: Vec<Block>,
    bytes: usize,
    refused: bool,
    /// How the answer ended, once it did.
    stop: Option<Stop>,
}

impl Assembly {
    pub(super) fn event(&mut self, text: &str) -> Result<(), AskError> {
        let event: Value =
            serde_json::from_str(text).map_err(|_| garbage("an event is no JSON"))?;
        match event["type"].as_str() {
            Some("response.output_item.done") => {
                self.bytes += text.len();
                if self.bytes > ANSWER_BYTES_MAX {
                    return Err(garbage("it is too long"));
                }
                self.item(&event["item"])?;
            }
            Some("response.completed") => self.stop = Some(Stop::Done),
            Some("response.incomplete") => {
                let reason = event["response"]["incomplete_details"]["reason"].as_str();
                let filtered = reason == Some("content_filter");
                self.stop = Some(if filtered { Stop::Refused } else { Stop::CutOff });
            }
            Some("response.failed") => {
                return Err(refused(500, &event["response"], None));
            }
            Some("error") => {
                let error = json!({"error": {"type": event["code"], "message": event["message"]}});
                return Err(refused(500, &error, None));
            }
            // The pieces of items, and what there may be one day.
            Some(_) => {}
            None => return Err(garbage("an event has no type")),
        }
        Ok(())
    }

    fn item(&mut self, item: &Value) -> Result<(), AskError> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(garbage("it has too many items"));
        }
        match item["type"].as_str() {
            Some("message") => {
                for part in item["content"].as_array().into_iter().flatten() {
                    if let Some(text) = part["text"].as_str() {
                        self.blocks.push(Block::Text(text.to_owned()));
                    } else if let Some(refusal) = part["refusal"].as_str() {
                        self.blocks.push(Block::Text(refusal.to_owned()));
                        self.refused = true;
                    }
                }
            }
            Some("function_call") => {
                let text = |key: &str| item[key].as_str().unwrap_or_default();
                let (id, name) = (text("call_id").to_owned(), text("name").to_owned());
                if id.is_empty() || name.is_empty() {
                    return Err(garbage("a tool call has no id or name"));
                }
                // Cut off in the middle, it is as good as not made.
                if item["status"] == "incomplete" {
                    return Ok(());
                }
                let input = input_of(text("arguments")).ok_or_else(|| no_input(&name))?;
                self.blocks.push(Block::ToolUse { id, name, input });
            }
            // Without it the next request would begin to think anew.
            Some("reasoning") => self.blocks.push(Block::Kept(item.clone())),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Answer, AskError> {
        let stop = self.stop.ok_or_else(|| transient("the answer was cut off".to_owned()))?;
        let stop = if self.refused { Stop::Refused } else { stop };
        Ok(Answer { blocks: self.blocks, stop })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn assemble(events: &[Value]) -> Result<Answer, AskError> {
        let mut assembly = Assembly::default();
        for event in events {
            assembly.event(&event.to_string())?;
        }
        assembly.finish()
    }

    fn done(item: &Value) -> Value {
        json!({"type": "response.output_item.done", "item": item})
    }

    #[test]
    fn items_become_blocks_and_blocks_items() {
        let reasoning = json!({"type": "reasoning", "id": "r", "encrypted_content": "x"});
        let call = json!({"type": "function_call", "call_id": "c", "name": "read",
            "arguments": "{\"path\":\"a\"}"});
        let text = json!({"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "Hm."}]});
        let end = json!({"type": "response.completed"});
        let answer = assemble(&[done(&reasoning), done(&text), done(&call), end]).unwrap();
        assert_eq!((answer.blocks.len(), answer.stop), (3, Stop::Done));
        let repeated = items(&answer.repeated().unwrap());
        assert_eq!(repeated, [reasoning, text, call]);
    }

    #[test]
    fn the_end_tells_how_it_went() {
        let ended = |reason: &str| {
            assemble(&[json!({"type": "response.incomplete",
                "response": {"incomplete_details": {"reason": reason}}})])
        };
        assert_eq!(ended("max_output_tokens").unwrap().stop, Stop::CutOff);
        assert_eq!(ended("content_filter").unwrap().stop, Stop::Refused);
        let failed = json!({"type": "response.failed",
            "response": {"error": {"code": "server_error", "message": "m"}}});
        assert!(matches!(assemble(&[failed]), Err(AskError::Transient { .. })));
        assert!(matches!(assemble(&[]), Err(AskError::Transient { .. })));
        let call = json!({"type": "function_call", "call_id": "c", "name": "read",
            "arguments": "[]"});
        assert!(matches!(assemble(&[done(&call)]), Err(AskError::Transient { .. })));
        let refusal =
            json!({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]});
        let end = json!({"type": "response.completed"});
        assert_eq!(assemble(&[done(&refusal), end]).unwrap().stop, Stop::Refused);
    }
}
