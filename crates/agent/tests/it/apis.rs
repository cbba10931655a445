//! The same step whatever API its model is spoken to in.

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Api, Entry, ToolGrant, Usage};
use jb_scripted_model::{Reply, Said, Script, ToolUse, Usage as Used};
use serde_json::{Value, json};

use crate::recording::again;
use crate::step::{KEY, Step};

fn two_tools() -> Reply {
    let echo =
        |word: &str| ToolUse { name: "shell".into(), input: json!({"argv": ["echo", word]}) };
    let usage = Used { input_tokens: 70, cache_read_input_tokens: 30, ..Used::default() };
    let (text, tools) = ("I look.".to_owned(), vec![echo("one"), echo("two")]);
    Reply::Say(Said { text, tools, usage, ..Said::default() })
}

fn results(entries: &[Entry]) -> Vec<String> {
    let results = entries.iter().filter_map(|entry| match entry {
        Entry::ToolResult { text, .. } => Some(text.trim().to_owned()),
        _ => None,
    });
    results.collect()
}

#[tokio::test]
async fn tools_are_called_and_the_result_is_taken() {
    for api in Api::ALL {
        let script = Script::of([
            two_tools(),
            Reply::tool("submit_result", json!({"verdict": 3})),
            Reply::tool("submit_result", json!({"verdict": "approve"})),
        ]);
        let mut step = Step::speaking(api, script).await;
        step.spec.tools.push(ToolGrant::Search);
        step.spec.result_schema =
            Some(json!({"type": "object", "properties": {"verdict": {"type": "string"}}}));
        let ran = step.run().await;
        let result = Some(json!({"verdict": "approve"}));
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), result), "{api:?}");
        assert_eq!(results(&ran.transcript), ["one", "two"], "{api:?}");
        let first = ran.gateway.iter().find_map(|entry| match entry {
            Entry::ModelCall { usage, cost_micros, error, .. } => {
                Some((*usage, *cost_micros, error.clone()))
            }
            _ => None,
        });
        let usage = Usage {
            input_tokens: 70,
            output_tokens: 10,
            cache_read_tokens: 30,
            cache_write_tokens: 0,
        };
        assert_eq!(first, Some((usage, 70 * 3 + 10 * 15, None)), "{api:?}");
        let facts = ran.gateway.iter().find_map(|entry| match entry {
            Entry::ModelCall { answer, .. } => Some(answer.clone()),
            _ => None,
        });
        let facts = facts.unwrap();
        let finish_reason = match api {
            Api::Messages => "tool_use",
            Api::Responses => "completed",
            Api::Chat => "tool_calls",
        };
        assert_eq!((facts.provider.as_str(), facts.response_model.as_str()), ("scripted", "m"));
        assert_eq!(facts.finish_reason, finish_reason, "{api:?}");
        assert!(!facts.response_id.is_empty(), "{api:?}");
        // The key is in the header that the API wants, and the agent's placeholder nowhere.
        let asked = step.model().received();
        let (name, value) = match api {
            Api::Messages => ("x-api-key", KEY.to_owned()),
            Api::Responses | Api::Chat => ("authorization", format!("Bearer {KEY}")),
        };
        assert!(asked.iter().all(|request| request.headers[name] == *value), "{api:?}");
        // The same again without the model.
        let mut second = again(&step);
        second.spec.tools.clone_from(&step.spec.tools);
        second.spec.result_schema.clone_from(&step.spec.result_schema);
        assert_eq!(second.run().await.transcript, ran.transcript, "{api:?}");
    }
}

#[tokio::test]
async fn trouble_is_met_by_asking_again() {
    for api in Api::ALL {
        let busy = |status, kind: &str| Reply::Error {
            status,
            kind: kind.to_owned(),
            message: "later".to_owned(),
            retry_after: Some(0),
        };
        let text = "This is going to be a longer answer than that.".to_owned();
        let mut script = Script::of([
            busy(429, "rate_limit_error"),
            busy(529, "overloaded_error"),
            Reply::Garbage("data: <html>\n\n".to_owned()),
            Reply::CutOff(Said { text, ..Said::default() }),
            Reply::Hang,
            Reply::Silence,
            Reply::text("Done."),
        ]);
        // On a busy machine any of them may be given up as silent, too; the last one answers until it is heard.
        script.rules.last_mut().unwrap().times = None;
        let mut step = Step::speaking(api, script).await;
        step.gateway.idle_timeout_ms = 300;
        let ran = step.run().await;
        assert_eq!(ran.ending().0, Ending::Completed, "{api:?}: {:?}", ran.transcript);
        let retries = ran.transcript.iter().filter(|entry| matches!(entry, Entry::Retry { .. }));
        assert!(retries.count() >= 6, "{api:?}: {:?}", ran.transcript);
    }
}

#[tokio::test]
async fn what_asking_again_does_not_mend_ends_the_work() {
    for api in Api::ALL {
        let stopped = |reason: &str| {
            let (text, stop_reason) = ("I cannot.".to_owned(), Some(reason.to_owned()));
            Reply::Say(Said { text, stop_reason, ..Said::default() })
        };
        let step = Step::speaking(api, Script::of([stopped("max_tokens"), stopped("refusal")]));
        let step = step.await;
        assert_eq!(step.run().await.ending().0, Ending::Refused, "{api:?}");
        let body = step.model().received()[1].body.to_string();
        assert!(body.contains("Go on."), "{api:?}: {body}");

        let (kind, message) = ("insufficient_quota".to_owned(), "no money".to_owned());
        let poor = Reply::Error { status: 429, kind, message, retry_after: None };
        let (ending, message, _) =
            Step::speaking(api, Script::of([poor])).await.run().await.ending();
        assert_eq!(ending, Ending::ModelFailed, "{api:?}");
        assert_eq!(message, "HTTP 429: insufficient_quota: no money", "{api:?}");
    }
}

#[tokio::test]
async fn an_answer_is_no_longer_than_the_budget_allows() {
    for api in Api::ALL {
        let mut step = Step::speaking(api, Script::of([two_tools(), Reply::text("Done.")])).await;
        step.gateway.budget.tokens = Some(1_000);
        assert_eq!(step.run().await.ending().0, Ending::Completed, "{api:?}");
        let limits: Vec<Value> = step
            .model()
            .received()
            .iter()
            .map(|request| {
                let keys = ["max_tokens", "max_output_tokens", "max_completion_tokens"];
                keys.into_iter().find_map(|key| request.body.get(key).cloned()).unwrap()
            })
            .collect();
        assert_eq!(limits, [1_000, 890], "{api:?}");

        let mut step = Step::speaking(api, Script::of([two_tools(), two_tools()])).await;
        step.gateway.budget.tokens = Some(200);
        let (ending, message, _) = step.run().await.ending();
        assert_eq!(ending, Ending::BudgetSpent, "{api:?}");
        assert_eq!(message, "the step's budget is spent: 220 of 200 tokens", "{api:?}");
    }
}
