//! What holds for every harness, ours and those of others.

use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Api, Entry, PLACEHOLDER_KEY};
use jb_scripted_model::{Reply, Said, Script, ToolUse};
use serde_json::{Value, json};

use crate::harness::Harness;
use crate::step::{KEY, Ran, Step};

async fn run(harness: Harness, step: &Step) -> Ran {
    step.run_with(async |spec| harness.run(spec).await).await
}

fn outcomes(ran: &Ran) -> Vec<(String, ToolOutcome, String)> {
    let outcomes = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::ToolResult { name, outcome, text, .. } => {
            Some((name.clone(), *outcome, text.trim().to_owned()))
        }
        _ => None,
    });
    outcomes.collect()
}

fn texts(ran: &Ran) -> Vec<&str> {
    let texts = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::Text { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn offered(request: &Value) -> Vec<String> {
    let tools = request["tools"].as_array().unwrap().iter();
    let name = |tool: &Value| {
        let name = tool["name"].as_str().or_else(|| tool["function"]["name"].as_str());
        let name = name.unwrap_or_else(|| panic!("a tool without a name: {tool}"));
        ["mcp__jetbridge__", "jetbridge_"]
            .into_iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name)
            .to_owned()
    };
    let mut names: Vec<String> = tools.map(name).collect();
    names.sort();
    names
}

fn schema() -> Option<Value> {
    let properties = json!({"verdict": {"type": "string"}});
    Some(json!({"type": "object", "properties": properties, "required": ["verdict"]}))
}

#[tokio::test]
async fn an_agent_calls_its_tools_and_hands_in_its_result() {
    for harness in Harness::all() {
        let write = json!({"path": "out/greeting.txt", "content": "hello"});
        let echo = json!({"argv": ["echo", "hi"]});
        let first = Said {
            text: "I will look and write.".into(),
            tools: vec![
                ToolUse { name: "write".into(), input: write },
                ToolUse { name: "shell".into(), input: echo },
            ],
            ..Said::default()
        };
        let script = Script::of([
            Reply::Say(first),
            Reply::tool("submit_result", json!({"verdict": 3})),
            Reply::tool("submit_result", json!({"verdict": "approve"})),
        ]);
        let mut step = Step::speaking(harness.api, script).await;
        step.spec.result_schema = schema();
        let ran = run(harness, &step).await;
        let result = Some(json!({"verdict": "approve"}));
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), result), "{harness:?}");
        assert_eq!(std::fs::read_to_string(step.out("greeting.txt")).unwrap(), "hello");
        assert_eq!(texts(&ran), ["I will look and write."], "{harness:?}");
        let outcomes: Vec<_> = outcomes(&ran).into_iter().map(|(_, _, text)| text).collect();
        assert_eq!(outcomes, ["wrote 5 bytes to out/greeting.txt", "hi"], "{harness:?}");
        let Some(Entry::Start { harness: name, .. }) = ran.transcript.first() else {
            panic!("{harness:?} begins with {:?}", ran.transcript.first())
        };
        assert_eq!(name, harness.name());
        let refused = |entry: &&Entry| matches!(entry, Entry::ResultRefused { attempt: 1, .. });
        assert_eq!(ran.transcript.iter().filter(refused).count(), 1, "{harness:?}");
        // Nothing was offered but what was granted, and the model learnt which step this is.
        let requests = step.model().received();
        assert_eq!(requests.len(), 3, "{harness:?}");
        for request in &requests {
            let granted = ["read", "shell", "submit_result", "write"];
            assert_eq!(offered(&request.body), granted, "{harness:?}");
            assert!(request.body.to_string().contains("step `implement`"), "{harness:?}");
        }
        // The key was put in by the gateway, and the harness had none.
        let (header, value) = match harness.api {
            Api::Messages => ("x-api-key", KEY.to_owned()),
            Api::Responses | Api::Chat => ("authorization", format!("Bearer {KEY}")),
        };
        assert!(requests.iter().all(|request| request.headers[header] == *value), "{harness:?}");
        let placeholder = |value: &str| value.contains(PLACEHOLDER_KEY);
        let headers = requests.iter().flat_map(|request| request.headers.values());
        assert!(!headers.filter_map(|value| value.to_str().ok()).any(placeholder), "{harness:?}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_the_agent_goes_on() {
    for harness in Harness::all() {
        let script = Script::of([
            Reply::tool("shell", json!({"argv": ["curl", "http://evil"]})),
            Reply::tool("edit", json!({"path": "out/x", "old": "a", "new": "b"})),
            Reply::tool("Bash", json!({"command": "touch out/made"})),
            Reply::tool("read", json!({"path": "/proc/self/environ"})),
            Reply::text("Then not."),
        ]);
        let step = Step::speaking(harness.api, script).await;
        let ran = run(harness, &step).await;
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), None), "{harness:?}");
        let outcomes = outcomes(&ran);
        let names: Vec<&str> = outcomes.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["shell", "edit", "Bash", "read"], "{harness:?}");
        assert!(
            outcomes.iter().all(|(_, outcome, _)| *outcome == ToolOutcome::Denied),
            "{harness:?}: {outcomes:?}"
        );
        assert!(!step.out("made").exists(), "{harness:?}");
        assert_eq!(texts(&ran), ["Then not."], "{harness:?}");
    }
}
