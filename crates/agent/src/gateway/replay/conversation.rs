//! What of a request is the conversation.
//!
//! Command lines of others put into their requests what is new in each run: the day, and ids that they draw for sessions,
//! threads and items. A replay passes over these and nothing else: each rule names the place, and who puts what there. What
//! a model answered is in the recording, so ids of its own are the same again.

use jb_agent_protocol::Api;
use serde_json::{Map, Value};

/// What is compared instead of a line with the day.
const DAY: &str = "((day))";
/// What stands before a day: Claude Code's words, and OpenCode's.
const BEFORE_DAYS: [&str; 2] = ["Date: ", "Today's date: "];

/// A request without what may differ from run to run.
pub(super) fn conversation(api: Api, request: &Value) -> Value {
    let mut request = request.clone();
    if let Value::Object(fields) = &mut request {
        match api {
            Api::Messages => messages(fields),
            Api::Responses => responses(fields),
            Api::Chat => turns(fields, "messages"),
        }
    }
    request
}

fn messages(fields: &mut Map<String, Value>) {
    // Claude Code's device and session.
    fields.remove("metadata");
    fields.entry("system").and_modify(without_days);
}

fn responses(fields: &mut Map<String, Value>) {
    // Codex's installation, session, thread and turn; and by what it or OpenCode finds its conversation in a cache.
    fields.remove("client_metadata");
    fields.remove("prompt_cache_key");
    fields.entry("instructions").and_modify(without_days);
    let items = fields.get_mut("input").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        // Codex draws ids for what comes from its own side. One that is all of an item refers to another.
        if item.get("type").is_none_or(|kind| kind != "item_reference") {
            item.remove("id");
        }
    }
    turns(fields, "input");
}

/// The day is told before the conversation, or where that has no place of its own, by its first turns.
fn turns(fields: &mut Map<String, Value>, name: &str) {
    let turns = fields.get_mut(name).and_then(Value::as_array_mut);
    for turn in turns.into_iter().flatten().filter_map(Value::as_object_mut) {
        if turn.get("role").is_some_and(|role| role == "system" || role == "developer") {
            turn.entry("content").and_modify(without_days);
        }
    }
}

fn without_days(content: &mut Value) {
    each_text(content, |text| *text = without_day(text));
}

/// The texts of a content, which is one or has them in parts.
fn each_text(content: &mut Value, mut change: impl FnMut(&mut String)) {
    match content {
        Value::String(text) => change(text),
        Value::Array(parts) => {
            for part in parts {
                if let Some(Value::String(text)) = part.get_mut("text") {
                    change(text);
                }
            }
        }
        _ => {}
    }
}

/// A text in which lines that say nothing but the day say it of no day.
fn without_day(text: &str) -> String {
    let line = |line: &str| {
        let words = line.trim();
        let mut days = BEFORE_DAYS.into_iter().filter_map(|before| words.strip_prefix(before));
        if days.any(is_day) { line.replace(words, DAY) } else { line.to_owned() }
    };
    text.split_inclusive('\n').map(line).collect()
}

/// Whether this is a day as `2026-01-31` or `Sat Jan 31 2026`.
fn is_day(text: &str) -> bool {
    let like = |shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                b'a' => byte.is_ascii_alphabetic(),
                other => byte == other,
            })
    };
    like("0000-00-00") || like("aaa aaa 00 0000")
}

#[cfg(test)]
mod tests;
