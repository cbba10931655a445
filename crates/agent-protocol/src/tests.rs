#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::transcript::{Ending, ToolOutcome};

#[test]
fn costs_are_rounded_up_to_millionths() {
    let prices = Prices {
        input: 3_000_000,
        output: 15_000_000,
        cache_read: 300_000,
        cache_write: 3_750_000,
    };
    let usage = Usage {
        input_tokens: 1000,
        output_tokens: 10,
        cache_read_tokens: 1,
        cache_write_tokens: 0,
    };
    assert_eq!(usage.cost_micros(&prices), 3151);
    assert_eq!(usage.total(), 1011);
    assert_eq!(Dollars(3151).to_string(), "$0.0031");
    assert_eq!(Usage { input_tokens: u64::MAX, ..usage }.cost_micros(&prices), u64::MAX);
}

#[test]
fn the_first_limit_that_is_reached_is_named() {
    let budget = GatewayBudget { turns: Some(3), tokens: Some(100), cost_micros: None };
    let used = |input_tokens| Usage { input_tokens, ..Usage::default() };
    assert_eq!(budget.exceeded(2, used(99), u64::MAX), None);
    assert_eq!(budget.exceeded(2, used(100), 0).unwrap().to_string(), "100 of 100 tokens");
    assert_eq!(budget.exceeded(3, used(0), 0).unwrap().to_string(), "3 of 3 turns");
}

#[test]
fn lines_are_what_clients_read() {
    let entry =
        Entry::ToolCall { id: "t1".into(), name: "read".into(), input: json!({"path": "a"}) };
    let line = Line { time_us: 7, entry };
    let text = serde_json::to_string(&line).unwrap();
    assert_eq!(
        text,
        r#"{"time_us":7,"type":"tool_call","id":"t1","name":"read","input":{"path":"a"}}"#
    );
    assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    let spent = Entry::BudgetSpent { limit: Limit { kind: LimitKind::Turns, used: 3, limit: 3 } };
    let text = serde_json::to_string(&spent).unwrap();
    assert_eq!(text, r#"{"type":"budget_spent","limit_of":"turns","used":3,"limit":3}"#);
    assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), spent);
}

#[test]
fn the_first_difference_of_a_request_is_named() {
    use recording::difference;
    let recorded = json!({"model": "m", "messages": [{"content": "a"}]});
    assert_eq!(difference(&recorded, &recorded), None);
    assert_eq!(
        difference(&recorded, &json!({"model": "m", "messages": [{"content": "b"}]})).unwrap(),
        r#"/messages/0/content is "b", recorded was "a""#
    );
    assert_eq!(
        difference(&recorded, &json!({"model": "m", "messages": []})).unwrap(),
        "/messages has 0 items, recorded were 1"
    );
    assert_eq!(
        difference(&recorded, &json!({"messages": [{"content": "a"}]})).unwrap(),
        r#"/model is null, recorded was "m""#
    );
}

#[test]
fn recordings_of_other_versions_are_refused() {
    let header = serde_json::to_string(&recording::Header::default()).unwrap();
    assert_eq!(recording::read(&header).unwrap(), []);
    assert!(recording::read(&header.replace(":1", ":2")).unwrap_err().contains("version 2"));
    assert!(recording::read("").unwrap_err().contains("no recording"));
    assert!(recording::read(&format!("{header}\n{{")).unwrap_err().starts_with("line 2"));
}

#[test]
fn the_log_shows_what_happens() {
    let call = |input| Entry::ToolCall { id: String::new(), name: "shell".into(), input };
    assert_eq!(
        log_text(&call(json!({"argv": ["cargo", "test", "-p", "x"]}))),
        "\u{1b}[1m> shell\u{1b}[0m cargo test -p x\n"
    );
    let denied = Entry::ToolResult {
        id: String::new(),
        name: "shell".into(),
        outcome: ToolOutcome::Denied,
        text: "no grant".into(),
        bytes: 8,
    };
    assert_eq!(log_text(&denied), "\u{1b}[31m  denied: no grant\u{1b}[0m\n");
    let end = Entry::End { ending: Ending::Completed, message: String::new(), result: None };
    assert_eq!(log_text(&end), "");
}
