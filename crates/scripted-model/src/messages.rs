//! Anthropic's Messages API as its clients see it.

use serde_json::{Value, json};

use crate::script::Said;

/// Characters of a piece of text.
const PIECE: usize = 12;

/// Refuses what the real service refuses.
pub(crate) fn check(request: &Value) -> Result<(), String> {
    let messages = request["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or("messages: at least one message is required")?;
    if request["max_tokens"].as_u64().is_none_or(|tokens| tokens == 0) {
        return Err("max_tokens: must be greater than 0".to_owned());
    }
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        if message["role"] != role {
            return Err(format!("messages.{index}: roles must alternate, this is {role}'s"));
        }
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        if blocks.is_empty() && message["content"].as_str().is_none_or(str::is_empty) {
            return Err(format!("messages.{index}: content must not be empty"));
        }
        let answered: Vec<&str> =
            blocks.iter().filter_map(|block| block["tool_use_id"].as_str()).collect();
        if let Some(missing) = calls.iter().find(|call| !answered.contains(call)) {
            return Err(format!("messages.{index}: no tool_result for {missing}"));
        }
        calls = blocks
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .filter_map(|block| block["id"].as_str())
            .collect();
    }
    Ok(())
}

fn stop_reason(said: &Said) -> &str {
    let usual = if said.tools.is_empty() { "end_turn" } else { "tool_use" };
    said.stop_reason.as_deref().unwrap_or(usual)
}

pub(crate) fn tool_id(number: usize, index: usize) -> String {
    format!("toolu_{number:04}_{index:02}")
}

/// An answer that is not streamed.
pub(crate) fn whole(said: &Said, model: &str, number: usize) -> Value {
    let mut content = Vec::new();
    if !said.text.is_empty() {
        content.push(json!({"type": "text", "text": said.text}));
    }
    for (index, tool) in said.tools.iter().enumerate() {
        let id = tool_id(number, index);
        content.push(json!({"type": "tool_use", "id": id, "name": tool.name, "input": tool.input}));
    }
    json!({
        "id": format!("msg_{number:04}"), "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": stop_reason(said), "stop_sequence": null,
        "usage": said.usage,
    })
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

fn start(said: &Said, model: &str, number: usize) -> String {
    let mut usage = json!(said.usage);
    usage["output_tokens"] = json!(1);
    event(&json!({"type": "message_start", "message": {
        "id": format!("msg_{number:04}"), "type": "message", "role": "assistant", "model": model,
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
    }}))
}

/// A streamed answer, event by event.
pub(crate) fn events(said: &Said, model: &str, number: usize) -> Vec<String> {
    let mut events = vec![start(said, model, number), event(&json!({"type": "ping"}))];
    let mut index = 0;
    let mut block = |begin: Value, pieces: Vec<Value>| {
        events.push(event(
            &json!({"type": "content_block_start", "index": index, "content_block": begin}),
        ));
        for delta in pieces {
            events.push(event(
                &json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ));
        }
        events.push(event(&json!({"type": "content_block_stop", "index": index})));
        index += 1;
    };
    if !said.text.is_empty() {
        let pieces = split(&said.text).map(|text| json!({"type": "text_delta", "text": text}));
        block(json!({"type": "text", "text": ""}), pieces.collect());
    }
    for (tool_index, tool) in said.tools.iter().enumerate() {
        let input = tool.input.to_string();
        let pieces =
            split(&input).map(|json| json!({"type": "input_json_delta", "partial_json": json}));
        let id = tool_id(number, tool_index);
        let begin = json!({"type": "tool_use", "id": id, "name": tool.name, "input": {}});
        block(begin, pieces.collect());
    }
    let delta = json!({"stop_reason": stop_reason(said), "stop_sequence": null});
    let usage = json!({"output_tokens": said.usage.output_tokens});
    events.push(event(&json!({"type": "message_delta", "delta": delta, "usage": usage})));
    events.push(event(&json!({"type": "message_stop"})));
    events
}

/// How an answer with one text begins.
pub(crate) fn beginning(model: &str, number: usize) -> Vec<String> {
    let block = json!({"type": "text", "text": ""});
    let begin = json!({"type": "content_block_start", "index": 0, "content_block": block});
    vec![start(&Said::default(), model, number), event(&begin)]
}

/// How it goes on.
pub(crate) fn piece(text: &str) -> String {
    let delta = json!({"type": "text_delta", "text": text});
    event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
}

pub(crate) fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut characters = text.chars().peekable();
    std::iter::from_fn(move || {
        characters.peek()?;
        Some(characters.by_ref().take(PIECE).collect())
    })
}
