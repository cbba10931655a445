//! What of a request is the conversation.
//!
//! Command lines of others put into their requests what is new in each run: the day, and ids that they draw for sessions,
//! threads and items. A replay passes over these and nothing else: each rule names the place, and who puts what there. What
//! a model answered is in the recording, so ids of its own are the same again.

use jb_agent_protocol::Api;
use serde_json::{Map, Value};

/// Stands for a day.
const DAY: &str = "((day))";
/// What Claude Code's words about the program that asks begin with. They hold a checksum of the request.
const ABOUT_CLAUDE: &str = "x-anthropic-billing-header:";
/// How Claude Code marks what it adds to the words of a person.
const REMINDER: &str = "<system-reminder>";
/// What stands before a day: Claude Code's words, and OpenCode's.
const BEFORE_DAYS: [&str; 3] = ["Date: ", "Today's date is ", "Today's date: "];

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
    if let Some(system) = fields.get_mut("system") {
        if let Value::Array(parts) = system {
            let about = |part: &Value| part["text"].as_str().is_some_and(is_about_claude);
            parts.retain(|part| !about(part));
        }
        without_days(system);
    }
    turns(fields, "messages");
}

fn is_about_claude(text: &str) -> bool {
    text.starts_with(ABOUT_CLAUDE) && text.lines().count() == 1
}

fn responses(fields: &mut Map<String, Value>) {
    // Codex's installation, session, thread and turn; and by what it or OpenCode finds their conversation in a cache.
    for field in ["client_metadata", "prompt_cache_key"] {
        fields.remove(field);
    }
    if let Some(instructions) = fields.get_mut("instructions") {
        without_days(instructions);
    }
    let items = fields.get_mut("input").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        // Codex draws ids for what comes from its own side, and notes the turn. An id alone refers to an item.
        if item.get("type").is_none_or(|kind| kind != "item_reference") {
            item.remove("id");
        }
        item.remove("internal_chat_message_metadata_passthrough");
    }
    turns(fields, "input");
}

/// What programs say of the day beside what people and models say.
fn turns(fields: &mut Map<String, Value>, name: &str) {
    let turns = fields.get_mut(name).and_then(Value::as_array_mut);
    for turn in turns.into_iter().flatten() {
        let role = turn["role"].as_str().unwrap_or_default().to_owned();
        let Some(content) = turn.get_mut("content") else { continue };
        match role.as_str() {
            "system" | "developer" => without_days(content),
            "user" => each_text(content, |text| {
                if text.starts_with(REMINDER) {
                    *text = without_day(text);
                }
            }),
            _ => {}
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

/// Whether this is a day as `2026-01-31`, with or without a full stop, or as `Sat Jan 31 2026`.
fn is_day(text: &str) -> bool {
    let like = |shape: &str| {
        let text = text.strip_suffix('.').unwrap_or(text);
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
