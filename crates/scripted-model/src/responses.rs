//! OpenAI's Responses API as its clients see it.

use serde_json::{Value, json};

use crate::messages::{split, tool_id};
use crate::script::{Said, Usage};

/// Refuses what the real service refuses.
pub(crate) fn check(request: &Value) -> Result<(), String> {
    if request["input"].as_str().is_some_and(|text| !text.is_empty()) {
        return Ok(());
    }
    let items = request["input"].as_array().filter(|items| !items.is_empty());
    let items = items.ok_or("Missing required parameter: 'input'.")?;
    if request["max_output_tokens"].as_u64().is_some_and(|tokens| tokens < 16) {
        return Err("Invalid 'max_output_tokens': integer below minimum value.".to_owned());
    }
    let ids = |kind: &str| -> Vec<&str> {
        let found = items.iter().filter(|item| item["type"] == kind);
        found.filter_map(|item| item["call_id"].as_str()).collect()
    };
    let (calls, answers) = (ids("function_call"), ids("function_call_output"));
    if let Some(call) = calls.iter().find(|call| !answers.contains(call)) {
        return Err(format!("No tool output found for function call {call}."));
    }
    if let Some(answer) = answers.iter().find(|answer| !calls.contains(answer)) {
        return Err(format!("No tool call found for function call output with call_id {answer}."));
    }
    Ok(())
}

fn usage(usage: &Usage) -> Value {
    let input = usage.input_tokens + usage.cache_read_input_tokens;
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": usage.cache_read_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + usage.output_tokens,
    })
}

fn items(said: &Said, number: usize) -> Vec<Value> {
    let mut items = Vec::new();
    if !said.text.is_empty() {
        let refused = said.stop_reason.as_deref() == Some("refusal");
        let part = if refused {
            json!({"type": "refusal", "refusal": said.text})
        } else {
            json!({"type": "output_text", "text": said.text, "annotations": []})
        };
        items
            .push(json!({"type": "message", "id": format!("msg_{number:04}"), "role": "assistant",
            "status": "completed", "content": [part]}));
    }
    for (index, tool) in said.tools.iter().enumerate() {
        let id = tool_id(number, index);
        items.push(json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id,
            "name": tool.name, "arguments": tool.input.to_string(), "status": "completed"}));
    }
    items
}

/// An answer that is not streamed.
pub(crate) fn whole(said: &Said, model: &str, number: usize) -> Value {
    let cut_off = said.stop_reason.as_deref() == Some("max_tokens");
    let details = if cut_off { json!({"reason": "max_output_tokens"}) } else { Value::Null };
    json!({
        "id": format!("resp_{number:04}"), "object": "response", "created_at": number,
        "status": if cut_off { "incomplete" } else { "completed" }, "model": model,
        "error": null, "incomplete_details": details, "output": items(said, number),
        "usage": usage(&said.usage),
    })
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

fn start(model: &str, number: usize) -> Vec<String> {
    let mut response = whole(&Said::default(), model, number);
    response["status"] = json!("in_progress");
    response["usage"] = Value::Null;
    ["response.created", "response.in_progress"]
        .map(|kind| event(&json!({"type": kind, "response": response})))
        .to_vec()
}

/// A streamed answer, event by event.
pub(crate) fn events(said: &Said, model: &str, number: usize) -> Vec<String> {
    let mut events = start(model, number);
    for (index, item) in items(said, number).into_iter().enumerate() {
        let mut begun = item.clone();
        begun["status"] = json!("in_progress");
        let (kind, text) = if item["type"] == "function_call" {
            begun["arguments"] = json!("");
            ("response.function_call_arguments.delta", &item["arguments"])
        } else {
            begun["content"] = json!([]);
            ("response.output_text.delta", &item["content"][0]["text"])
        };
        let added = json!({"type": "response.output_item.added", "output_index": index,
            "item": begun});
        events.push(event(&added));
        for piece in split(text.as_str().unwrap_or_default()) {
            let delta = json!({"type": kind, "item_id": item["id"], "output_index": index,
                "delta": piece});
            events.push(event(&delta));
        }
        let done = json!({"type": "response.output_item.done", "output_index": index,
            "item": item});
        events.push(event(&done));
    }
    let response = whole(said, model, number);
    let kind = format!("response.{}", response["status"].as_str().unwrap_or_default());
    events.push(event(&json!({"type": kind, "response": response})));
    events
}

/// How an answer with one text begins.
pub(crate) fn beginning(model: &str, number: usize) -> Vec<String> {
    let mut begin = start(model, number);
    let item = json!({"type": "message", "id": "msg", "role": "assistant", "content": []});
    let added = json!({"type": "response.output_item.added", "output_index": 0, "item": item});
    begin.push(event(&added));
    begin
}

/// How it goes on.
pub(crate) fn piece(text: &str) -> String {
    event(&json!({"type": "response.output_text.delta", "output_index": 0, "delta": text}))
}
