//! OpenAI's Chat Completions API as its clients see it.

use serde_json::{Value, json};

use crate::messages::{split, tool_id};
use crate::script::{Said, Usage};

/// Refuses what the real service refuses.
pub(crate) fn check(request: &Value) -> Result<(), String> {
    let messages = request["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or("Missing required parameter: 'messages'.")?;
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        match message["role"].as_str() {
            Some("tool") => {
                let id = message["tool_call_id"].as_str().unwrap_or_default();
                let known = calls.iter().position(|call| *call == id);
                let known = known.ok_or_else(|| {
                    format!("messages.[{index}]: a tool's message answers no tool call")
                })?;
                calls.remove(known);
            }
            _ if !calls.is_empty() => {
                return Err(format!("messages.[{index}]: no answer to {}", calls.join(", ")));
            }
            Some("assistant") => {
                let made = message["tool_calls"].as_array().into_iter().flatten();
                calls = made.filter_map(|call| call["id"].as_str()).collect();
            }
            Some("system" | "developer" | "user") => {}
            _ => return Err(format!("messages.[{index}].role: unknown role")),
        }
    }
    if calls.is_empty() { Ok(()) } else { Err(format!("no answer to {}", calls.join(", "))) }
}

fn finish_reason(said: &Said) -> &'static str {
    match said.stop_reason.as_deref() {
        Some("max_tokens") => "length",
        Some("refusal") => "content_filter",
        _ if said.tools.is_empty() => "stop",
        _ => "tool_calls",
    }
}

fn usage(usage: &Usage) -> Value {
    let input = usage.input_tokens + usage.cache_read_input_tokens;
    json!({
        "prompt_tokens": input,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_input_tokens},
        "completion_tokens": usage.output_tokens,
        "total_tokens": input + usage.output_tokens,
    })
}

/// An answer that is not streamed.
pub(crate) fn whole(said: &Said, model: &str, number: usize) -> Value {
    let call = |(index, tool): (usize, &crate::ToolUse)| {
        let function = json!({"name": tool.name, "arguments": tool.input.to_string()});
        json!({"id": tool_id(number, index), "type": "function", "function": function})
    };
    let calls: Vec<Value> = said.tools.iter().enumerate().map(call).collect();
    let mut message = json!({"role": "assistant", "content": said.text, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": finish_reason(said)});
    json!({
        "id": id(number), "object": "chat.completion", "created": number, "model": model,
        "choices": [choice], "usage": usage(&said.usage),
    })
}

fn id(number: usize) -> String {
    format!("chatcmpl-{number:04}")
}

fn chunk(model: &str, number: usize, delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk = json!({
        "id": id(number), "object": "chat.completion.chunk", "created": number, "model": model,
        "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

/// A streamed answer, event by event.
pub(crate) fn events(said: &Said, model: &str, number: usize) -> Vec<String> {
    let say = |delta: Value| chunk(model, number, &delta, None);
    let mut events = vec![say(json!({"role": "assistant", "content": ""}))];
    events.extend(split(&said.text).map(|text| say(json!({"content": text}))));
    for (index, tool) in said.tools.iter().enumerate() {
        let function = json!({"name": tool.name, "arguments": ""});
        let id = tool_id(number, index);
        let begun = json!({"index": index, "id": id, "type": "function", "function": function});
        events.push(say(json!({"tool_calls": [begun]})));
        for piece in split(&tool.input.to_string()) {
            let more = json!({"index": index, "function": {"arguments": piece}});
            events.push(say(json!({"tool_calls": [more]})));
        }
    }
    events.push(chunk(model, number, &json!({}), Some(finish_reason(said))));
    let last = json!({
        "id": id(number), "object": "chat.completion.chunk", "created": number, "model": model,
        "choices": [], "usage": usage(&said.usage),
    });
    events.push(format!("data: {last}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// How an answer with one text goes on.
pub(crate) fn piece(text: &str, model: &str, number: usize) -> String {
    chunk(model, number, &json!({"content": text}), None)
}
