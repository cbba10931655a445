#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::trace::{SpanId, TraceId};

fn line(second: i64, entry: Value) -> Line {
    let mut line = entry;
    line["time_us"] = (second * 1_000_000).into();
    serde_json::from_value(line).unwrap()
}

fn told(story: &mut Story, source: Source, second: i64, entry: Value) -> Vec<Told> {
    story.take(source, &line(second, entry))
}

fn spans(story: Story, verdict: Option<&Verdict>) -> Vec<Span> {
    let place = Place { trace: TraceId([1; 16]), root: SpanId([2; 8]) };
    let step = PlanId::new("7");
    let conversation = "12/7".to_owned();
    let invoked = Invoked { place: &place, step: &step, name: "review", conversation, verdict };
    story.spans(&invoked, Timestamp::from_unix_seconds(99))
}

fn fact<'a>(span: &'a Span, name: &str) -> &'a Fact {
    &span.attributes.iter().find(|(key, _)| *key == name).unwrap().1
}

fn start(story: &mut Story) {
    let start =
        json!({"type": "start", "harness": "builtin", "version": "1", "model": "m", "tools": []});
    assert_eq!(told(story, Source::Harness, 10, start), []);
}

fn call(id: &str, name: &str) -> Value {
    json!({"type": "tool_call", "id": id, "name": name, "input": {"secret": "text"}})
}

#[test]
fn a_story_becomes_spans_below_the_steps() {
    let mut story = Story::default();
    start(&mut story);
    let model_call = json!({"type": "model_call", "number": 1, "model": "m", "provider": "anthropic",
        "response_id": "r1", "finish_reason": "tool_use", "status": 200, "input_tokens": 70,
        "output_tokens": 10, "cache_read_tokens": 30, "cost_micros": 360, "first_byte_ms": 500,
        "total_ms": 2_000});
    assert_eq!(told(&mut story, Source::Gateway, 13, model_call).len(), 1);
    told(&mut story, Source::Harness, 13, call("a", "read"));
    told(&mut story, Source::Harness, 13, call("b", "shell"));
    let result = |id: &str, name: &str, outcome: &str| json!({"type": "tool_result", "id": id, "name": name, "outcome": outcome, "text": "private", "bytes": 7});
    told(&mut story, Source::Harness, 14, result("b", "shell", "failed"));
    told(&mut story, Source::Harness, 16, result("a", "read", "ok"));
    told(&mut story, Source::Harness, 17, call("c", RESULT_TOOL));
    let end = json!({"type": "end", "ending": "completed", "message": "", "result": {"v": "good"}});
    let ended = told(&mut story, Source::Harness, 18, end);
    assert_eq!(ended[1], Told::End { took: Duration::from_secs(8), error: "" });

    let verdict = Verdict { from: "v".into(), pass: vec!["good".into()], ..Verdict::default() };
    let spans = spans(story, Some(&verdict));
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let wanted = [
        "invoke_agent review",
        "chat m",
        "execute_tool shell",
        "execute_tool read",
        "execute_tool submit_result",
    ];
    assert_eq!(names, wanted);
    let agent = &spans[0];
    assert!(spans[1..].iter().all(|span| span.parent == Some(agent.id)));
    assert_eq!((agent.begin.unix_seconds(), agent.end.unix_seconds()), (10, 18));
    assert_eq!(*fact(agent, "gen_ai.usage.input_tokens"), Fact::Count(100));
    assert_eq!(*fact(agent, "jetbridge.agent.turns"), Fact::Count(1));
    assert_eq!(agent.events[0].name, "gen_ai.evaluation.result");
    assert_eq!(agent.events[0].attributes[1].1, "pass".into());
    let chat = &spans[1];
    assert_eq!(
        (chat.kind, chat.begin.unix_seconds(), chat.end.unix_seconds()),
        (Kind::Client, 11, 13)
    );
    assert_eq!(*fact(chat, "gen_ai.response.finish_reasons"), Fact::Texts(vec!["tool_use".into()]));
    assert_eq!(*fact(chat, "gen_ai.response.time_to_first_chunk"), Fact::Seconds(0.5));
    assert_eq!(spans[2].error.as_deref(), Some("tool_error"));
    assert_eq!((spans[3].begin.unix_seconds(), spans[3].end.unix_seconds()), (13, 16));
    // Nothing that was said is in them.
    let all = format!("{spans:?}");
    assert!(!all.contains("private") && !all.contains("secret") && !all.contains("good"), "{all}");
}

#[test]
fn calls_of_mcp_servers_are_below_those_of_tools() {
    let mut story = Story::default();
    start(&mut story);
    let result = |id: &str, outcome: &str| json!({"type": "tool_result", "id": id, "name": "db__query", "outcome": outcome, "text": "private", "bytes": 7});
    let mcp_call = |outcome: &str| json!({"type": "mcp_call", "server": "db", "tool": "query", "outcome": outcome, "protocol": "2026-07-28", "transport": "pipe", "total_ms": 500});
    for (id, outcome) in [("a", "denied"), ("b", "ok"), ("c", "failed")] {
        told(&mut story, Source::Harness, 11, call(id, "db__query"));
        if outcome != "denied" {
            assert_eq!(told(&mut story, Source::Gateway, 12, mcp_call(outcome)).len(), 1);
        }
        told(&mut story, Source::Harness, 12, result(id, outcome));
    }
    // Only the gateway's word counts.
    assert_eq!(told(&mut story, Source::Harness, 12, mcp_call("ok")), []);
    assert_eq!(told(&mut story, Source::Server, 12, mcp_call("ok")), []);
    let spans = spans(story, None);
    let names: Vec<&str> = spans[1..].iter().map(|span| &*span.name).collect();
    let (tool, below) = ("execute_tool db__query", "tools/call query");
    assert_eq!(names, [tool, below, tool, below, tool]);
    let [_, _, first, tool, second, failed] = &spans[..] else { unreachable!("six spans") };
    assert_eq!((first.parent, first.kind), (Some(tool.id), Kind::Client));
    assert_eq!((second.parent, second.error.as_deref()), (Some(failed.id), Some("tool_error")));
    assert_eq!(first.end.since(first.begin), Duration::from_millis(500));
    assert_eq!(*fact(first, "mcp.method.name"), "tools/call".into());
    assert_eq!(*fact(first, "mcp.protocol.version"), "2026-07-28".into());
    assert_eq!(*fact(first, "gen_ai.operation.name"), "execute_tool".into());
}

#[test]
fn connections_through_the_proxy_are_below_the_agent() {
    let mut story = Story::default();
    start(&mut story);
    let connection = |host: &str, outcome: &str, address: &str| {
        json!({"type": "connection", "host": host, "outcome": outcome, "reason": "private", "address": address,
            "sent_bytes": 300, "received_bytes": 7_000, "total_ms": 1_500})
    };
    let allowed = connection("crates.io:443", "allowed", "192.0.2.1");
    assert_eq!(told(&mut story, Source::Gateway, 12, allowed.clone()).len(), 1);
    told(&mut story, Source::Gateway, 13, connection("evil.test:8443", "denied", ""));
    told(&mut story, Source::Gateway, 13, connection("plain.test", "failed", ""));
    // Only the gateway's word counts.
    assert_eq!(told(&mut story, Source::Harness, 13, allowed), []);
    let spans = spans(story, None);
    let [agent, allowed, denied, failed] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*allowed.name, allowed.kind), ("CONNECT", Kind::Client));
    assert_eq!((allowed.parent, allowed.error.as_deref()), (Some(agent.id), None));
    assert_eq!(allowed.end.since(allowed.begin), Duration::from_millis(1_500));
    assert_eq!(*fact(allowed, "server.address"), "crates.io".into());
    assert_eq!(*fact(allowed, "server.port"), Fact::Count(443));
    assert_eq!(*fact(allowed, "network.peer.address"), "192.0.2.1".into());
    assert_eq!(*fact(allowed, "jetbridge.proxy.outcome"), "allowed".into());
    assert_eq!(*fact(allowed, "jetbridge.proxy.received_bytes"), Fact::Count(7_000));
    assert_eq!(denied.error.as_deref(), Some("denied"));
    assert_eq!(*fact(denied, "jetbridge.proxy.outcome"), "denied".into());
    assert_eq!(*fact(failed, "server.address"), "plain.test".into());
    assert!(!format!("{spans:?}").contains("private"));
}

#[test]
fn a_budget_and_an_end_nobody_told_are_seen() {
    let mut story = Story::default();
    start(&mut story);
    // Only the gateway's word counts.
    let forged = json!({"type": "model_call", "number": 1, "model": "m", "status": 200, "cost_micros": 9,
        "first_byte_ms": 0, "total_ms": 0});
    assert_eq!(told(&mut story, Source::Harness, 11, forged), []);
    let spent = json!({"type": "budget_spent", "limit_of": "tokens", "used": 12, "limit": 10});
    assert_eq!(told(&mut story, Source::Gateway, 12, spent), [Told::Budget("tokens")]);
    let spans = spans(story, None);
    assert_eq!((spans.len(), spans[0].error.as_deref()), (1, Some("killed")));
    let event = &spans[0].events[0];
    assert_eq!((&*event.name, &event.attributes[1].1), ("budget spent", &Fact::Count(12)));
    assert!(super::tests::spans(Story::default(), None).is_empty());
}

#[test]
fn spans_of_an_agent_are_bounded() {
    let mut story = Story::default();
    start(&mut story);
    for number in 0..2_000 {
        let id = number.to_string();
        told(&mut story, Source::Harness, 11, call(&id, "read"));
        let result = json!({"type": "tool_result", "id": id, "name": "read", "outcome": "ok", "text": "", "bytes": 0});
        assert_eq!(told(&mut story, Source::Harness, 11, result).len(), 1);
    }
    let spans = spans(story, None);
    assert_eq!(spans.len(), 1 + PARTS_MAX);
    assert_eq!(*fact(&spans[0], "jetbridge.agent.spans_left_out"), Fact::Count(1_000));
}
