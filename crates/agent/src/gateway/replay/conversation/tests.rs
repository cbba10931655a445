#![allow(clippy::unwrap_used, reason = "tests")]

use jb_agent_protocol::recording::difference;
use serde_json::json;

use super::*;

/// How two requests differ as conversations.
fn differ(api: Api, recorded: &Value, asked: &Value) -> Option<String> {
    difference(&conversation(api, recorded), &conversation(api, asked))
}

/// As Claude Code asks.
fn claude(run: &str, day: &str, prompt: &str) -> Value {
    let system = format!("CWD: /w\nDate: {day}\n\nYou are an agent.");
    json!({
        "model": "m",
        "metadata": {"user_id": format!("{{\"session_id\":\"{run}\"}}")},
        "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
    })
}

/// As Codex asks.
fn codex(run: &str, prompt: &str) -> Value {
    json!({
        "model": "m", "instructions": "You are an agent.", "prompt_cache_key": run,
        "client_metadata": {"x-codex-installation-id": run, "thread_id": run},
        "input": [
            {"type": "message", "id": format!("msg_{run}"), "role": "user", "content": [{"type": "input_text", "text": prompt}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "id": format!("fco_{run}"), "call_id": "call_1", "output": "text"},
        ],
    })
}

/// As OpenCode asks.
fn opencode(day: &str, prompt: &str) -> Value {
    let system =
        format!("You are an agent.\n<env>\n  Platform: linux\n  Today's date: {day}\n</env>");
    json!({
        "model": "m",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
    })
}

#[test]
fn another_session_on_another_day_is_the_same_conversation() {
    let (one, other) = (claude("1a", "2026-01-31", "Do it."), claude("2b", "2026-02-01", "Do it."));
    assert_eq!(differ(Api::Messages, &one, &other), None);
    assert_eq!(differ(Api::Responses, &codex("1a", "Do it."), &codex("2b", "Do it.")), None);
    let (one, other) =
        (opencode("Sat Jan 31 2026", "Do it."), opencode("Sun Feb 01 2026", "Do it."));
    assert_eq!(differ(Api::Chat, &one, &other), None);
}

#[test]
fn another_prompt_is_the_first_difference() {
    let named = |pointer: &str| Some(format!(r#"{pointer} is "Do that.", recorded was "Do it.""#));
    let (one, other) =
        (claude("1a", "2026-01-31", "Do it."), claude("2b", "2026-02-01", "Do that."));
    assert_eq!(differ(Api::Messages, &one, &other), named("/messages/0/content/0/text"));
    let (one, other) = (codex("1a", "Do it."), codex("2b", "Do that."));
    assert_eq!(differ(Api::Responses, &one, &other), named("/input/0/content/0/text"));
    let (one, other) =
        (opencode("Sat Jan 31 2026", "Do it."), opencode("Sun Feb 01 2026", "Do that."));
    assert_eq!(differ(Api::Chat, &one, &other), named("/messages/1/content"));
}

#[test]
fn days_in_what_people_and_tools_say_are_the_conversation() {
    let asks = |day: &str| {
        let text = format!("Date: {day}");
        let result = json!({"type": "tool_result", "tool_use_id": "t1", "content": text});
        [
            json!({"messages": [{"role": "user", "content": text}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}),
            json!({"messages": [{"role": "user", "content": [result]}]}),
            json!({"messages": [{"role": "assistant", "content": text}]}),
        ]
    };
    for (one, other) in asks("2026-01-31").iter().zip(&asks("2026-02-01")) {
        assert!(differ(Api::Messages, one, other).is_some(), "{one}");
        assert!(differ(Api::Chat, one, other).is_some(), "{one}");
    }
    // And a line with a day that says more is no line about the day.
    let system = |day: &str| json!({"system": format!("Date: {day} is when it was released"), "messages": []});
    assert!(differ(Api::Messages, &system("2026-01-31"), &system("2026-02-01")).is_some());
}

#[test]
fn calls_and_references_are_the_conversation() {
    let (one, mut other) = (codex("1a", "Do it."), codex("1a", "Do it."));
    other["input"][2]["call_id"] = json!("call_2");
    let said = differ(Api::Responses, &one, &other).unwrap();
    assert!(said.starts_with("/input/2/call_id"), "{said}");
    let refers = |id: &str| json!({"input": [{"type": "item_reference", "id": id}]});
    let said = differ(Api::Responses, &refers("rs_1"), &refers("rs_2")).unwrap();
    assert!(said.starts_with("/input/0/id"), "{said}");
    // What one API passes over, another does not.
    let with = |id: &str| json!({"metadata": {"user_id": id}, "prompt_cache_key": "k"});
    assert_eq!(differ(Api::Messages, &with("1"), &with("2")), None);
    assert!(differ(Api::Responses, &with("1"), &with("2")).is_some());
}
