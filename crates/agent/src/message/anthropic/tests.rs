#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use super::*;

fn assemble(events: &[Value]) -> Result<Answer, AskError> {
    let mut assembly = Assembly::default();
    for event in events {
        assembly.event(&event.to_string())?;
    }
    assembly.finish()
}

fn tool_use(input: &[&str], stop_reason: &str) -> Vec<Value> {
    let mut events = vec![json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "read", "input": {}}})];
    events.extend(input.iter().map(|piece| {
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": piece}})
    }));
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop_reason}}));
    events.push(json!({"type": "message_stop"}));
    events
}

#[test]
fn inputs_of_tools_come_in_pieces() {
    let answer = assemble(&tool_use(&["{\"pa", "th\":\"a\"}"], "tool_use")).unwrap();
    let input = json!({"path": "a"});
    let block = Block::ToolUse { id: "t".into(), name: "read".into(), input };
    assert_eq!(answer, Answer { blocks: vec![block], stop: Stop::Done });
    let answer = assemble(&tool_use(&[], "tool_use")).unwrap();
    assert!(matches!(&answer.blocks[0], Block::ToolUse { input, .. } if *input == json!({})));
}

#[test]
fn garbage_is_asked_for_again() {
    let garbage: [Vec<Value>; 5] = [
        tool_use(&["[1]"], "tool_use"),
        tool_use(&["{\"path\":"], "tool_use"),
        vec![json!({"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta"}})],
        vec![json!({"hello": "world"})],
        // Without its end.
        vec![json!({"type": "message_start"})],
    ];
    for events in garbage {
        let answer = assemble(&events);
        assert!(matches!(answer, Err(AskError::Transient { .. })), "{events:?}: {answer:?}");
    }
}

#[test]
fn a_call_that_was_cut_off_is_not_made() {
    let answer = assemble(&tool_use(&["{\"path\":"], "max_tokens")).unwrap();
    assert_eq!(answer, Answer { blocks: vec![], stop: Stop::CutOff });
}

#[test]
fn errors_are_sorted_by_what_helps() {
    let body = |kind: &str| json!({"error": {"type": kind, "message": "m"}});
    let seconds = Some(Duration::from_secs(3));
    assert_eq!(
        refused(429, &body("rate_limit_error"), seconds),
        AskError::Transient { message: "HTTP 429: rate_limit_error: m".into(), after: seconds }
    );
    let quota = refused(429, &body("insufficient_quota"), None);
    assert!(matches!(quota, AskError::Final { .. }));
    assert!(matches!(refused(529, &Value::Null, None), AskError::Transient { .. }));
    assert!(matches!(refused(403, &body("budget_spent"), None), AskError::BudgetSpent { .. }));
    assert!(matches!(refused(401, &body("authentication_error"), None), AskError::Final { .. }));
}
