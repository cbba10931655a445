//! Calls that wait for people, for every harness.

use jb_agent_protocol::approval::{Asked, INPUT_BYTES_MAX};
use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Entry, ToolGrant};
use jb_scripted_model::{Reply, Said, Script, ToolUse};
use serde_json::json;

use crate::harness::{Harness, installed};
use crate::step::{Ran, Step};

/// A step that is granted `echo` and `touch`, and asks about `touch` and about writing.
async fn step(harness: Harness, script: Script) -> Step {
    let mut step = Step::speaking(harness.api, script).await;
    step.spec.tools = vec![
        ToolGrant::Read,
        ToolGrant::Write,
        ToolGrant::Shell(vec!["echo*".into(), "touch *".into()]),
    ];
    step.spec.asked = Asked { tools: vec!["write".into()], shell: vec!["touch *".into()] };
    step
}

fn touch(name: &str) -> ToolUse {
    ToolUse { name: "shell".into(), input: json!({"argv": ["touch", format!("out/{name}")]}) }
}

fn results(ran: &Ran) -> Vec<(ToolOutcome, &str)> {
    let results = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::ToolResult { outcome, text, .. } => Some((*outcome, text.trim())),
        _ => None,
    });
    results.collect()
}

fn answered(ran: &Ran) -> Vec<(&str, bool)> {
    let answered = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::ApprovalAnswered { id, approved, .. } => Some((id.as_str(), *approved)),
        _ => None,
    });
    answered.collect()
}

#[tokio::test]
async fn what_is_approved_is_done_and_not_before() {
    for harness in Harness::all() {
        let script = Script::of([
            Reply::tool("shell", json!({"argv": ["echo", "free"]})),
            Reply::Say(Said { tools: vec![touch("made")], ..Said::default() }),
            Reply::text("Done."),
        ]);
        let step = step(harness, script).await;
        let ran = step.run_with(async |spec| {
            let mut running = harness.start(&spec, &installed()).await;
            let (id, input) = running.asked().await;
            assert_eq!(input["argv"], json!(["touch", "out/made"]), "{harness:?}");
            // What is said about something else decides nothing here.
            running.decide("a9", true, "").await;
            assert!(!step.out("made").exists(), "{harness:?}");
            running.decide(&id, true, "").await;
            running.decide(&id, false, "too late").await;
            running.end().await
        });
        let ran = ran.await;
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), None), "{harness:?}");
        assert!(step.out("made").exists(), "{harness:?}");
        assert_eq!(results(&ran)[0], (ToolOutcome::Ok, "free"), "{harness:?}");
        assert_eq!(results(&ran)[1].0, ToolOutcome::Ok, "{harness:?}");
        assert_eq!(answered(&ran), [("a1", true)], "{harness:?}");
    }
}

#[tokio::test]
async fn what_is_denied_is_not_done_and_the_agent_goes_on() {
    for harness in Harness::all() {
        let script = Script::of([
            // What is not granted is denied without asking anybody.
            Reply::tool("shell", json!({"argv": ["rm", "out/x"]})),
            Reply::Say(Said { tools: vec![touch("made")], ..Said::default() }),
            Reply::text("Then not."),
        ]);
        let step = step(harness, script).await;
        let ran = step.run_with(async |spec| {
            let mut running = harness.start(&spec, &installed()).await;
            let (id, _) = running.asked().await;
            running.decide(&id, false, "not on a Friday").await;
            running.end().await
        });
        let ran = ran.await;
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), None), "{harness:?}");
        assert!(!step.out("made").exists(), "{harness:?}");
        let denied = (ToolOutcome::Denied, "denied by a person: not on a Friday");
        assert_eq!(results(&ran)[1], denied, "{harness:?}");
        assert_eq!(answered(&ran), [("a1", false)], "{harness:?}");
        let last = step.model().received().pop().unwrap().body.to_string();
        assert!(last.contains("denied by a person: not on a Friday"), "{harness:?}: {last}");
    }
}

/// Calls of one answer are each asked about by an id of its own. Ours are together, and done in their order whichever is
/// decided first; some programs make a call only when the one before is answered.
#[tokio::test]
async fn each_of_several_calls_waits() {
    for harness in Harness::all() {
        let write = json!({"path": "out/log", "content": "two"});
        let tools = vec![touch("one"), ToolUse { name: "write".into(), input: write }];
        let script =
            Script::of([Reply::Say(Said { tools, ..Said::default() }), Reply::text("Done.")]);
        let step = step(harness, script).await;
        let ran = step.run_with(async |spec| {
            let mut running = harness.start(&spec, &installed()).await;
            let mut asked = vec![running.asked().await];
            if harness.name() == "builtin" {
                asked.insert(0, running.asked().await);
            } else {
                let (id, input) = asked.remove(0);
                running.decide(&id, input["path"].is_null(), "").await;
                asked.push(running.asked().await);
            }
            for (id, input) in asked {
                running.decide(&id, input["path"].is_null(), "").await;
            }
            running.end().await
        });
        let ran = ran.await;
        assert_eq!(ran.ending(), (Ending::Completed, String::new(), None), "{harness:?}");
        assert!(step.out("one").exists() && !step.out("log").exists(), "{harness:?}");
        let mut outcomes: Vec<_> = results(&ran).into_iter().map(|(outcome, _)| outcome).collect();
        outcomes.sort_by_key(|outcome| format!("{outcome:?}"));
        assert_eq!(outcomes, [ToolOutcome::Denied, ToolOutcome::Ok], "{harness:?}");
        let mut answered = answered(&ran);
        answered.sort_unstable();
        let ids: Vec<&str> = answered.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, ["a1", "a2"], "{harness:?}");
    }
}

/// People approve what they have seen whole.
#[tokio::test]
async fn what_is_too_long_to_show_is_not_asked_about() {
    let harness = Harness::all()[0];
    let long = json!({"path": "out/long", "content": "x".repeat(INPUT_BYTES_MAX)});
    let script = Script::of([Reply::tool("write", long), Reply::text("Shorter, then.")]);
    let step = step(harness, script).await;
    let ran = step.run_with(async |spec| harness.run(spec).await).await;
    assert_eq!(ran.ending().0, Ending::Completed);
    let (outcome, text) = results(&ran)[0];
    assert_eq!(outcome, ToolOutcome::Denied);
    assert!(text.contains("has at most 16384 bytes"), "{text}");
    assert!(answered(&ran).is_empty() && !step.out("long").exists());
}
