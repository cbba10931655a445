//! What holds for every harness, ours and those of others.

use jb_agent_protocol::command_line::{CLAUDE_CODE, CODEX, OPENCODE};
use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Api, CommandLine, Entry, GatewayBudget, PLACEHOLDER_KEY};
use jb_scripted_model::{Reply, Rule, Said, Script, ToolUse, When};
use serde_json::{Value, json};

use crate::harness::{Harness, installed};
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

#[tokio::test]
async fn the_agent_is_reminded_of_its_result() {
    for harness in Harness::all() {
        let say = || Reply::text(r#"{"verdict": "approve"}"#);
        let mut step = Step::speaking(harness.api, Script::of([say(), say(), say(), say()])).await;
        step.spec.result_schema = schema();
        let ran = run(harness, &step).await;
        let (ending, message, result) = ran.ending();
        assert_eq!((ending, result), (Ending::NoResult, None), "{harness:?}: {message}");
        assert!(message.contains("without handing in its result"), "{harness:?}: {message}");
        assert_eq!(step.model().received().len(), 3, "{harness:?}");
    }
}

#[tokio::test]
async fn the_budget_stops_it() {
    for harness in Harness::all() {
        let reply = Reply::tool("shell", json!({"argv": ["echo", "again"]}));
        let script = Script { rules: vec![Rule { when: When::default(), times: None, reply }] };
        let mut step = Step::speaking(harness.api, script).await;
        step.gateway.budget = GatewayBudget { turns: Some(3), ..GatewayBudget::default() };
        let ran = run(harness, &step).await;
        let said = "the step's budget is spent: 3 of 3 turns".to_owned();
        assert_eq!(ran.ending(), (Ending::BudgetSpent, said, None), "{harness:?}");
        assert_eq!(outcomes(&ran).len(), 3, "{harness:?}");
        assert_eq!(step.model().received().len(), 3, "{harness:?}");
    }
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_a_wrong_key_is_not() {
    for harness in Harness::all() {
        let error = |status, kind: &str, retry_after| {
            let (kind, message) = (kind.to_owned(), "for this test".to_owned());
            Reply::Error { status, kind, message, retry_after }
        };
        let script = Script::of([
            error(529, "overloaded_error", Some(0)),
            error(503, "overloaded_error", Some(0)),
            Reply::text("Done."),
        ]);
        let step = Step::speaking(harness.api, script).await;
        let ran = run(harness, &step).await;
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), None), "{harness:?}");
        assert_eq!(texts(&ran), ["Done."], "{harness:?}");

        let refused = || error(401, "authentication_error", None);
        let step = Step::speaking(harness.api, Script::of((0..20).map(|_| refused()))).await;
        let ran = run(harness, &step).await;
        let (ending, message, _) = ran.ending();
        assert_eq!(ending, Ending::ModelFailed, "{harness:?}: {message}");
        assert!(
            message.contains("401") || message.contains("for this test"),
            "{harness:?}: {message}"
        );
        assert_eq!(step.model().received().len(), 1, "{harness:?}");
    }
}

/// Processes that have this in their environment.
fn processes(of: &str) -> usize {
    let environments = std::fs::read_dir("/proc").unwrap().flatten();
    let environments =
        environments.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|environ| String::from_utf8_lossy(environ).contains(of)).count()
}

#[tokio::test]
async fn nothing_is_left_of_one_that_is_cancelled() {
    for harness in Harness::all() {
        let script = Script::of([
            Reply::tool("shell", json!({"argv": ["echo", "begun"]})),
            Reply::tool("shell", json!({"argv": ["sleep", "1000"]})),
        ]);
        let mut step = Step::speaking(harness.api, script).await;
        step.spec.tools =
            vec![jb_agent_protocol::ToolGrant::Shell(vec!["echo*".into(), "sleep *".into()])];
        // The harness's own files are in a place that its processes know.
        let mark = step.dir.path().join("tmp").to_str().unwrap().to_owned();
        std::fs::create_dir(&mark).unwrap();
        let ran = step.run_with(async |spec| {
            let mut running =
                harness.start_in(&spec, &installed(), std::path::Path::new(&mark)).await;
            while let Some(entry) = running.next().await {
                let sleeps = |input: &Value| input["argv"][0] == "sleep";
                if matches!(&entry, Entry::ToolCall { input, .. } if sleeps(input)) {
                    break;
                }
            }
            assert!(processes(&mark) > 0, "{harness:?}");
            let id = running.child.id().unwrap().to_string();
            tokio::process::Command::new("kill").arg(&id).status().await.unwrap();
            running.end().await
        });
        let ran = ran.await;
        assert!(!matches!(ran.transcript.last(), Some(Entry::End { .. })), "{harness:?}");
        while processes(&mark) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// A program of this version that then does what a shell script does.
fn fake(line: CommandLine, version: &str, script: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(line.program);
    let text =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'cli {version}' && exit\n{script}\n");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn with_fake(line: CommandLine, version: &str, script: &str) -> (Ending, String) {
    let harness = Harness::of(line);
    let programs = fake(line, version, script);
    let step = Step::speaking(harness.api, Script::default()).await;
    let programs = [programs.path().to_owned()];
    let ran = step.run_with(async |spec| harness.start(&spec, &programs).await.end().await).await;
    let (ending, message, _) = ran.ending();
    (ending, message)
}

#[tokio::test]
async fn trouble_with_a_program_is_told_in_one_line() {
    for line in [CLAUDE_CODE, CODEX, OPENCODE] {
        let name = line.name;
        let (ending, message) = with_fake(line, "0.0.7", "").await;
        assert_eq!(ending, Ending::Failed);
        assert!(
            message.contains("has version 0.0.7") && message.contains(line.version),
            "{message}"
        );
        let crash = "read line; echo 'out of paper' >&2; kill -9 $$";
        let (ending, message) = with_fake(line, line.version, crash).await;
        let said = format!("{name} was ended by signal 9 before its work was done: out of paper");
        assert_eq!((ending, message), (Ending::Failed, said));
        let (ending, message) = with_fake(line, line.version, "read line; exit 3").await;
        let said = format!("{name} ended with status 3 before its work was done");
        assert_eq!((ending, message), (Ending::Failed, said));
        let garbage = "read line; echo '<html>'; sleep 1000";
        let (ending, message) = with_fake(line, line.version, garbage).await;
        let said = format!("{name} said what is not its protocol: <html>");
        assert_eq!((ending, message), (Ending::Failed, said));
        let silent = "read line; echo '{}'; echo '[]'; echo 7; exit";
        let (ending, message) = with_fake(line, line.version, silent).await;
        let said = format!("{name} ended with status 0 before its work was done");
        assert_eq!((ending, message), (Ending::Failed, said));
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let harness = Harness::of(CODEX);
    let mut step = Step::speaking(harness.api, Script::default()).await;
    step.spec.working_dir = step.dir.path().join("work").to_str().unwrap().to_owned();
    let nowhere = step.dir.path().join("nowhere");
    let ran = step.run_with(async |spec| harness.start_only(&spec, &nowhere).await.end().await);
    let (ending, message, _) = ran.await.ending();
    assert_eq!(ending, Ending::Failed);
    let said = format!(
        "the harness `codex` needs the program `codex` {} in the step's image",
        CODEX.version
    );
    assert!(message.starts_with(&said), "{message}");
}
