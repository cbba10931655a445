#![allow(clippy::unwrap_used, reason = "tests")]

use jb_agent_protocol::{Api, ToolGrant};
use serde_json::json;

use super::*;

fn spec() -> LoopSpec {
    LoopSpec {
        name: "test".into(),
        model: "m".into(),
        api: Api::Messages,
        prompt: "Do it.".into(),
        socket: String::new(),
        working_dir: "/w".into(),
        roots: vec![],
        tools: vec![ToolGrant::Read],
        network: Default::default(),
        mcp: vec![],
        asked: Default::default(),
        suspension: None,
        result_schema: None,
        forbidden: vec![],
        retry_pause_ms: 1,
        context_tokens: 200_000,
    }
}

fn with<D: Driver>(make: impl FnOnce(&Setting<'_>) -> D) -> D {
    let spec = spec();
    let definition = |name: &str| json!({"name": name, "description": "", "input_schema": {}});
    make(&Setting {
        spec: &spec,
        tools: vec![definition("read"), definition("write")],
        gateway: SocketAddr::from((Ipv4Addr::LOCALHOST, 7)),
        home: "/home",
        relay: vec!["jb-agent".into()],
    })
}

/// The ids of the calls of our tools among what is to be done.
fn called(acts: &[Act]) -> Vec<&str> {
    let calls = acts.iter().filter_map(|act| match act {
        Act::Call { id, .. } => Some(id.as_str()),
        _ => None,
    });
    calls.collect()
}

#[test]
fn a_spent_budget_is_told_by_the_gateways_words() {
    let why = r#"API Error: 403 {"error":{"message":"the step's budget is spent: 3 of 3 turns"}}"#;
    let end = End::new(Ending::BudgetSpent, "the step's budget is spent: 3 of 3 turns");
    assert_eq!(Act::model_failed(why), Act::Over(end));
    let end = End::new(Ending::ModelFailed, "401 wrong key");
    assert_eq!(Act::model_failed("401 wrong key\n"), Act::Over(end));
}

#[test]
fn what_asking_again_does_not_mend_is_not_asked_again() {
    for status in [400, 401, 403, 404, 413, 422] {
        assert!(matches!(Act::retry(Some(status), "no", 1), Act::Over(_)), "{status}");
    }
    for status in [None, Some(408), Some(425), Some(429), Some(500), Some(529)] {
        assert!(matches!(Act::retry(status, "later", 1), Act::Say(Entry::Retry { .. })));
    }
}

#[test]
fn claude_codes_own_words_are_not_the_models() {
    let mut claude = with(claude::Claude::new);
    let said = |model: &str, content: Value| json!({"type": "assistant", "message": {"model": model, "content": [content]}});
    let text = json!({"type": "text", "text": "API Error: 401"});
    assert_eq!(claude.said(&said("<synthetic>", text.clone())), []);
    assert_eq!(claude.said(&said("m", text)).len(), 1);
    // One that it has no tool for is denied by it, one of ours is called later by a message of its own.
    let call = |name: &str| json!({"type": "tool_use", "id": "t", "name": name, "input": {}});
    assert_eq!(claude.said(&said("m", call("mcp__jetbridge__read"))), []);
    for name in ["Bash", "mcp__jetbridge__shell", "mcp__other__read", "read"] {
        let acts = claude.said(&said("m", call(name)));
        assert!(matches!(&acts[..], [Act::Say(Entry::ToolCall { .. })]), "{name}: {acts:?}");
    }
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "no such tool"});
    let acts = claude.said(&json!({"type": "user", "message": {"content": [result]}}));
    let denied = |act: &Act| matches!(act, Act::Say(Entry::ToolResult { outcome: ToolOutcome::Denied, text, .. }) if text == "no such tool");
    assert!(acts.len() == 1 && denied(&acts[0]), "{acts:?}");
}

#[test]
fn claude_code_is_permitted_nothing_and_answers_how_it_ended() {
    let mut claude = with(claude::Claude::new);
    let ask = json!({"subtype": "can_use_tool", "tool_name": "Bash", "input": {}});
    let asked = json!({"type": "control_request", "request_id": "r", "request": ask});
    let acts = claude.said(&asked);
    let [Act::Tell(told)] = &acts[..] else { unreachable!("one answer: {acts:?}") };
    assert_eq!(told["response"]["response"]["behavior"], "deny");
    let ended = |line: Value| with(claude::Claude::new).said(&line);
    assert_eq!(ended(json!({"type": "result", "is_error": false, "result": "x"})), [Act::Stopped]);
    let acts = ended(json!({"type": "result", "stop_reason": "refusal", "is_error": false}));
    assert!(matches!(&acts[..], [Act::Over(end)] if end.ending == Ending::Refused));
    let acts = ended(json!({"type": "result", "is_error": true, "errors": ["out of tokens"]}));
    let failed = End::new(Ending::ModelFailed, "out of tokens");
    assert_eq!(acts, [Act::Over(failed)]);
}

#[test]
fn calls_of_codex_are_made_in_the_models_order() {
    let mut codex = with(codex::Codex::new);
    let mut item = |item: Value| {
        codex.said(&json!({"method": "rawResponseItem/completed", "params": {"item": item}}))
    };
    for (id, name) in [("a", "read"), ("b", "write"), ("c", "read")] {
        let call = json!({"type": "function_call", "call_id": id, "name": name, "arguments": "{}"});
        assert_eq!(item(call), []);
    }
    let ask = |id: &str| {
        let params = json!({"callId": id, "tool": "read", "arguments": {}});
        json!({"id": 1, "method": "item/tool/call", "params": params})
    };
    assert_eq!(codex.said(&ask("c")), []);
    assert_eq!(called(&codex.said(&ask("a"))), ["a"]);
    // It answered `b` itself, so nothing is waited for any more.
    let own = json!({"type": "function_call_output", "call_id": "b", "output": "bad arguments"});
    let own = json!({"method": "rawResponseItem/completed", "params": {"item": own}});
    assert_eq!(called(&codex.said(&own)), ["c"]);
    // One that was not announced is called at once.
    assert_eq!(called(&codex.said(&ask("d"))), ["d"]);
}

#[test]
fn opencodes_text_comes_in_pieces_and_its_foreign_calls_with_their_input() {
    let mut opencode = with(acp::OpenCode::new);
    let mut update = |update: Value| {
        opencode.said(&json!({"method": "session/update", "params": {"update": update}}))
    };
    for piece in ["I ", "look."] {
        let content = json!({"type": "text", "text": piece});
        let chunk = json!({"sessionUpdate": "agent_message_chunk", "content": content});
        assert_eq!(update(chunk), []);
    }
    let call = json!({"sessionUpdate": "tool_call", "toolCallId": "t", "title": "bash"});
    let text = Act::Say(Entry::Text { text: "I look.".into() });
    assert_eq!(update(call), [text]);
    let input = json!({"command": "ls"});
    let word = |status: &str, text: &str| {
        let content = [json!({"content": {"type": "text", "text": text}})];
        json!({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": status,
               "rawInput": input, "content": content})
    };
    let begun = Entry::ToolCall { id: "t".into(), name: "bash".into(), input: input.clone() };
    assert_eq!(update(word("in_progress", "")), [Act::Say(begun)]);
    let acts = update(word("failed", "unavailable"));
    assert!(matches!(&acts[..], [Act::Say(Entry::ToolResult { .. })]), "{acts:?}");
}

#[test]
fn opencodes_words_come_before_the_calls_that_they_lead_to() {
    let mut opencode = with(acp::OpenCode::new);
    let told = |update: Value| json!({"method": "session/update", "params": {"update": update}});
    let call = json!({"sessionUpdate": "tool_call", "toolCallId": "t", "title": "jetbridge_read"});
    let ask = |id: u64| {
        let params = json!({"name": "read", "arguments": {"path": "a"}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    // Its call is here before its words are, which come on another way.
    assert_eq!(opencode.asked(0, &ask(1)), []);
    let content = json!({"type": "text", "text": "I look."});
    let chunk = json!({"sessionUpdate": "agent_message_chunk", "content": content});
    assert_eq!(opencode.said(&told(chunk)), []);
    let acts = opencode.said(&told(call.clone()));
    assert_eq!(acts[0], Act::Say(Entry::Text { text: "I look.".into() }));
    assert_eq!(called(&acts), ["call_1"]);
    // Said before it is asked for, it is made at once, once.
    assert_eq!(opencode.said(&told(call)), []);
    assert_eq!(called(&opencode.asked(0, &ask(2))), ["call_2"]);
    assert_eq!(opencode.asked(0, &ask(3)), []);
}
