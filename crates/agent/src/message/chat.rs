//! OpenAI's Chat Completions API, which many other services speak, too.

use serde_json::{Value, json};

use super::{
    ANSWER_BYTES_MAX, ANSWER_TOKENS_MAX, Answer, AskError, BLOCKS_MAX, Block, Message, Stop,
    ToolAnswer, garbage, input_of, no_input, refused, transient,
};

/// The stream's last data, which is no JSON.
const DONE: &str = "[DONE]";

pub(super) fn request(model: &str, system: &str, tools: &[Value], messages: &[Message]) -> Value {
    let first = json!({"role": "system", "content": system});
    let messages = std::iter::once(first).chain(messages.iter().flat_map(entries));
    let mut request = json!({
        "model": model,
        "max_completion_tokens": ANSWER_TOKENS_MAX,
        "stream": true,
        "stream_options": {"include_usage": true},
        "messages": messages.collect::<Vec<_>>(),
    });
    if !tools.is_empty() {
        request["tools"] = tools.iter().map(function).collect();
    }
    request
}

fn function(tool: &Value) -> Value {
    let function = json!({
        "name": tool["name"],
        "description": tool["description"],
        "parameters": tool["input_schema"],
    });
    json!({"type": "function", "function": function})
}

fn entries(message: &Message) -> Vec<Value> {
    match message {
        Message::User(text) => vec![json!({"role": "user", "content": text})],
        Message::Assistant(blocks) => vec![assistant(blocks)],
        Message::Results(results) => {
            let results = results.iter().map(
                |result| json!({"role": "tool", "tool_call_id": result.id, "content": told(result)}),
            );
            results.collect()
        }
    }
}

fn assistant(blocks: &[Block]) -> Value {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for block in blocks {
        match block {
            Block::Text(more) => text.push_str(more),
            Block::ToolUse { id, name, input } => {
                let function = json!({"name": name, "arguments": input.to_string()});
                calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            Block::Kept(_) => {}
        }
    }
    let content = if text.is_empty() { Value::Null } else { Value::String(text) };
    let mut entry = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        entry["tool_calls"] = Value::Array(calls);
    }
    entry
}

/// What a tool answered, in an API that has no other way to say that it failed.
pub(super) fn told(result: &ToolAnswer) -> String {
    if result.is_error { format!("ERROR: {}", result.text) } else { result.text.clone() }
}

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: String,
    calls: Vec<Calling>,
    bytes: usize,
    refused: bool,
    /// Why the model stopped, once it did.
    finish: Option<String>,
}

#[derive(Debug, Default)]
struct Calling {
    id: String,
    name: String,
    arguments: String,
}

impl Assembly {
    pub(super) fn event(&mut self, text: &str) -> Result<(), AskError> {
        if text == DONE {
            return Ok(());
        }
        let event: Value =
            serde_json::from_str(text).map_err(|_| garbage("an event is no JSON"))?;
        if event.get("error").is_some() {
            return Err(refused(500, &event, None));
        }
        let choices = event["choices"].as_array();
        let choices = choices.ok_or_else(|| garbage("an event has no choices"))?;
        // The last event has none, and what was used.
        let Some(choice) = choices.first() else { return Ok(()) };
        self.bytes += text.len();
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(garbage("it is too long"));
        }
        let delta = &choice["delta"];
        for key in ["content", "refusal"] {
            if let Some(more) = delta[key].as_str() {
                self.refused |= key == "refusal";
                self.text.push_str(more);
            }
        }
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            self.piece(piece)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish = Some(reason.to_owned());
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Value) -> Result<(), AskError> {
        let index = piece["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let index = index.unwrap_or(0);
        if index == self.calls.len() && index < BLOCKS_MAX {
            self.calls.push(Calling::default());
        }
        let call = self.calls.get_mut(index);
        let call = call.ok_or_else(|| garbage("a piece belongs to no tool call"))?;
        let function = &piece["function"];
        for (into, more) in [
            (&mut call.id, &piece["id"]),
            (&mut call.name, &function["name"]),
            (&mut call.arguments, &function["arguments"]),
        ] {
            into.push_str(more.as_str().unwrap_or_default());
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Answer, AskError> {
        // Some services that speak this leave the last word out, but all say why they stop.
        let finish = self.finish.ok_or_else(|| transient("the answer was cut off".to_owned()))?;
        let stop = match finish.as_str() {
            _ if self.refused => Stop::Refused,
            "content_filter" => Stop::Refused,
            "length" => Stop::CutOff,
            _ => Stop::Done,
        };
        let mut blocks = Vec::new();
        if !self.text.is_empty() {
            blocks.push(Block::Text(self.text));
        }
        for Calling { id, name, arguments } in self.calls {
            if id.is_empty() || name.is_empty() {
                return Err(garbage("a tool call has no id or name"));
            }
            match input_of(&arguments) {
                Some(input) => blocks.push(Block::ToolUse { id, name, input }),
                // Cut off in the middle of a call, which is then as good as not made.
                None if stop == Stop::CutOff => {}
                None => return Err(no_input(&name)),
            }
        }
        Ok(Answer { blocks, stop })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn assemble(events: &[&str]) -> Result<Answer, AskError> {
        let mut assembly = Assembly::default();
        for event in events {
            assembly.event(event)?;
        }
        assembly.finish()
    }

    const CALL: &str = r#"{"choices":[{"delta":{"content":"Hm.","tool_calls":[{"index":0,"id":"c","function":{"name":"read","arguments":"{\"pa"}}]}}]}"#;
    const REST: &str = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"th\":\"a\"}"}}]}}]}"#;
    const END: &str = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
    const LENGTH: &str = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
    const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;

    #[test]
    fn calls_come_in_pieces() {
        let answer = assemble(&[CALL, REST, END, USAGE, DONE]).unwrap();
        let input = json!({"path": "a"});
        let call = Block::ToolUse { id: "c".into(), name: "read".into(), input };
        let blocks = vec![Block::Text("Hm.".into()), call];
        assert_eq!(answer, Answer { blocks: blocks.clone(), stop: Stop::Done });
        let repeated = assistant(&blocks);
        assert_eq!(repeated["content"], "Hm.");
        assert_eq!(repeated["tool_calls"][0]["function"]["arguments"], r#"{"path":"a"}"#);
    }

    #[test]
    fn what_is_cut_off_or_wrong_is_told_apart() {
        let answer = assemble(&[CALL, LENGTH, DONE]).unwrap();
        assert_eq!((answer.blocks.len(), answer.stop), (1, Stop::CutOff));
        for garbage in [
            &[CALL, END, DONE][..],
            &[CALL, REST],
            &[r#"{"hello":1}"#],
            &["<html>"],
            &[r#"{"error":{"message":"busy"}}"#],
            &[],
        ] {
            let answer = assemble(garbage);
            assert!(matches!(answer, Err(AskError::Transient { .. })), "{garbage:?}: {answer:?}");
        }
    }
}
