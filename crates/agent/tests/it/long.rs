//! Work that is long: several calls at once, conversations that outgrow the model, tools that say much, models that loop.

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Api, Entry, Prices, ToolGrant, Usage};
use jb_scripted_model::{Reply, Rule, Said, Script, ToolUse, Usage as Used, When};
use serde_json::{Value, json};

use crate::recording::again;
use crate::step::Step;

fn tool(name: &str, input: Value) -> ToolUse {
    ToolUse { name: name.into(), input }
}

fn read(path: &str) -> ToolUse {
    tool("read", json!({"path": path}))
}

fn calls(tools: Vec<ToolUse>) -> Reply {
    Reply::Say(Said { tools, ..Said::default() })
}

/// The kinds of entries that are about tools, each with the number of its call.
fn order(entries: &[Entry]) -> Vec<String> {
    let ids = |id: &str| id.rsplit('_').next().unwrap_or_default().to_owned();
    let about = entries.iter().filter_map(|entry| match entry {
        Entry::ToolCall { id, .. } => Some(format!("call {}", ids(id))),
        Entry::ToolResult { id, .. } => Some(format!("result {}", ids(id))),
        _ => None,
    });
    about.collect()
}

#[tokio::test]
async fn what_only_reads_runs_side_by_side_and_the_rest_in_order() {
    for api in Api::ALL {
        let write = tool("write", json!({"path": "out/b", "content": "new"}));
        let four = vec![read("out/a"), read("out/b"), write, read("out/b")];
        let script = Script::of([calls(four), Reply::text("Done.")]);
        let step = Step::speaking(api, script).await;
        std::fs::write(step.out("a"), "A").unwrap();
        std::fs::write(step.out("b"), "old").unwrap();
        let ran = step.run().await;
        assert_eq!(ran.ending().0, Ending::Completed, "{api:?}: {:?}", ran.transcript);
        let wanted = ["call 00", "call 01", "result 00", "result 01"];
        let then = ["call 02", "result 02", "call 03", "result 03"];
        assert_eq!(order(&ran.transcript), [wanted, then].concat(), "{api:?}");
        let texts: Vec<&str> = ran
            .transcript
            .iter()
            .filter_map(|entry| match entry {
                Entry::ToolResult { text, .. } => Some(text.trim()),
                _ => None,
            })
            .collect();
        assert_eq!((texts[0], texts[1], texts[3]), ("A", "old", "new"), "{api:?}");
        // It works in the same directory, where the first left what it wrote.
        std::fs::write(step.out("b"), "old").unwrap();
        assert_eq!(again(&step).run().await.transcript, ran.transcript, "{api:?}");
    }
}

fn rule(when: When, times: Option<u32>, reply: Reply) -> Rule {
    Rule { when, times, reply }
}

fn last(text: &str) -> When {
    When { last: Some(text.to_owned()), ..When::default() }
}

fn compacted(entries: &[Entry]) -> Vec<&str> {
    let summaries = entries.iter().filter_map(|entry| match entry {
        Entry::Compacted { summary, .. } => Some(summary.as_str()),
        _ => None,
    });
    summaries.collect()
}

#[tokio::test]
async fn a_conversation_that_gets_long_is_summarised_and_gone_on_with() {
    for api in Api::ALL {
        let summary = last("Summarise the work so far");
        let rules = vec![
            rule(summary, Some(1), Reply::text("The pages say nothing.")),
            rule(When::default(), Some(4), calls(vec![read("out/page")])),
            rule(When::default(), None, Reply::text("Done.")),
        ];
        let mut step = Step::speaking(api, Script { rules }).await;
        step.spec.context_tokens = 4_000;
        std::fs::write(step.out("page"), "nothing ".repeat(300)).unwrap();
        let ran = step.run().await;
        assert_eq!(ran.ending().0, Ending::Completed, "{api:?}: {:?}", ran.transcript);
        assert_eq!(compacted(&ran.transcript), ["The pages say nothing."], "{api:?}");
        let asked = step.model().received();
        let about = asked
            .iter()
            .position(|request| request.body.to_string().contains("Summarise the work so far"));
        let about = about.unwrap();
        assert!(asked[about].body.get("tools").is_none(), "{api:?}");
        let after = asked[about + 1].body.to_string();
        let before = asked[about - 1].body.to_string();
        assert!(after.contains("Do it.") && after.contains("The pages say nothing."), "{after}");
        assert!(after.len() < before.len(), "{api:?}: {} and {}", before.len(), after.len());
        // The same again from the recording.
        let mut second = again(&step);
        second.spec.context_tokens = step.spec.context_tokens;
        std::fs::write(second.out("page"), "nothing ".repeat(300)).unwrap();
        assert_eq!(second.run().await.transcript, ran.transcript, "{api:?}");
    }
}

#[tokio::test]
async fn what_the_model_finds_too_long_is_shortened_once_and_asked_again() {
    let too_long = Reply::Error {
        status: 400,
        kind: "invalid_request_error".to_owned(),
        message: "prompt is too long: 9 tokens > 8 maximum".to_owned(),
        retry_after: None,
    };
    let two = [calls(vec![read("out/a")]), calls(vec![read("out/b")])];
    let script = Script::of(two.into_iter().chain([
        too_long.clone(),
        Reply::text("Notes."),
        Reply::text("Done."),
    ]));
    let step = Step::new(script).await;
    let ran = step.run().await;
    assert_eq!(ran.ending().0, Ending::Completed, "{:?}", ran.transcript);
    assert_eq!(compacted(&ran.transcript), ["Notes."]);
    // Nothing can be left out of a prompt.
    let step = Step::new(Script::of([too_long])).await;
    let (ending, message, _) = step.run().await.ending();
    assert_eq!(ending, Ending::ModelFailed);
    assert!(message.contains("prompt is too long"), "{message}");
}

#[tokio::test]
async fn a_model_that_loops_on_a_tool_is_told_and_then_stopped() {
    for api in Api::ALL {
        let rules = vec![rule(When::default(), None, calls(vec![read("out/a")]))];
        let step = Step::speaking(api, Script { rules }).await;
        let (ending, message, _) = step.run().await.ending();
        assert_eq!(ending, Ending::Refused, "{api:?}");
        let why = "the model loops: it called read 12 times in a row with the same input, and got the same answer";
        assert_eq!(message, why, "{api:?}");
        let asked = step.model().received();
        assert_eq!(asked.len(), 12, "{api:?}");
        assert!(asked[4].body.to_string().contains("Called 4 times in a row"), "{api:?}");
    }
}

#[tokio::test]
async fn a_tool_that_says_ten_megabytes_is_heard_in_part() {
    let argv = json!({"argv": ["sh", "-c", "echo begin; head -c 10485760 /dev/zero | tr '\\0' x; echo; echo end"]});
    let script = Script::of([calls(vec![tool("shell", argv)]), Reply::text("Done.")]);
    let mut step = Step::new(script).await;
    step.spec.tools = vec![ToolGrant::Shell(vec!["sh -c *".into()])];
    let ran = step.run().await;
    assert_eq!(ran.ending().0, Ending::Completed, "{:?}", ran.ending());
    let second = step.model().received()[1].body.to_string();
    assert!(second.len() < 100_000, "{}", second.len());
    for part in ["begin", "bytes left out", "end"] {
        assert!(second.contains(part), "{part}");
    }
    let longest = ran.transcript.iter().map(|entry| serde_json::to_string(entry).unwrap().len());
    assert!(longest.max().unwrap() < 20_000);
}

#[tokio::test]
async fn what_is_asked_again_is_marked_for_the_cache_and_what_came_from_it_is_cheap() {
    let usage = Used {
        input_tokens: 10,
        output_tokens: 10,
        cache_read_input_tokens: 1_000,
        cache_creation_input_tokens: 100,
    };
    let tools = vec![read("out/a")];
    let script = Script::of([
        Reply::Say(Said { tools: tools.clone(), usage, ..Said::default() }),
        calls(vec![read("out/b")]),
        Reply::text("Done."),
    ]);
    let mut step = Step::new(script).await;
    let prices = Prices {
        input: 3_000_000,
        output: 15_000_000,
        cache_read: 300_000,
        cache_write: 3_750_000,
    };
    step.gateway.models.insert("m".to_owned(), prices);
    let ran = step.run().await;
    let first = ran.gateway.iter().find_map(|entry| match entry {
        Entry::ModelCall { usage, cost_micros, .. } => Some((*usage, *cost_micros)),
        _ => None,
    });
    let counted = Usage {
        input_tokens: 10,
        output_tokens: 10,
        cache_read_tokens: 1_000,
        cache_write_tokens: 100,
    };
    assert_eq!(first, Some((counted, 30 + 150 + 300 + 375)));
    let asked = &step.model().received()[2].body;
    let marked = |value: &Value| value["cache_control"]["type"] == "ephemeral";
    assert!(marked(&asked["system"][0]));
    assert!(marked(asked["tools"].as_array().unwrap().last().unwrap()));
    let turns = asked["messages"].as_array().unwrap();
    let turns: Vec<bool> = turns
        .iter()
        .map(|turn| marked(turn["content"].as_array().unwrap().last().unwrap()))
        .collect();
    assert_eq!(turns, [false, false, true, false, true]);
    assert_eq!(asked.to_string().matches("cache_control").count(), 4, "the service takes no more");
}
