use std::path::Path;

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Entry, Usage};
use jb_scripted_model::{Reply, Script};
use serde_json::json;

use crate::harness::Harness;
use crate::step::Step;

/// The same step again, from the recording of the first.
pub(crate) fn again(step: &Step) -> Step {
    let copy = step.dir.path().join("kept.jsonl");
    std::fs::copy(step.recording(), &copy).unwrap();
    let mut again = Step::replaying(step.spec.api, copy);
    // What it sees must be the same: paths are part of what the model was told.
    again.spec.working_dir.clone_from(&step.spec.working_dir);
    again.spec.roots.clone_from(&step.spec.roots);
    again
}

/// What is known of the answers but for their times.
fn calls(entries: &[Entry]) -> Vec<(u32, u16, Usage, u64)> {
    let calls = entries.iter().filter_map(|entry| match entry {
        Entry::ModelCall { number, status, usage, cost_micros, .. } => {
            Some((*number, *status, *usage, *cost_micros))
        }
        _ => None,
    });
    calls.collect()
}

#[tokio::test]
async fn a_step_runs_again_from_its_recording() {
    let script = Script::of([
        Reply::tool("shell", json!({"argv": ["echo", "hunter2"]})),
        Reply::text("It is hunter2."),
    ]);
    let mut step = Step::new(script).await;
    step.spec.prompt = "The password is hunter2.".into();
    let first = step.run().await;
    assert_eq!(first.ending().0, Ending::Completed);
    let recorded = std::fs::read_to_string(step.recording()).unwrap();
    assert!(!recorded.contains("hunter2") && recorded.contains("((redacted))"));
    let mut again = again(&step);
    again.spec.prompt.clone_from(&step.spec.prompt);
    let second = again.run().await;
    assert_eq!(second.ending(), first.ending());
    assert_eq!(calls(&second.gateway), calls(&first.gateway));
    assert_eq!(second.transcript.len(), first.transcript.len());
}

#[tokio::test]
async fn a_request_that_was_not_recorded_is_named() {
    let step = Step::new(Script::of([Reply::text("Done.")])).await;
    step.run().await;
    let mut again = again(&step);
    again.spec.prompt = "Do something else.".into();
    let ran = again.run().await;
    let (ending, message, _) = ran.ending();
    assert_eq!(ending, Ending::ModelFailed);
    let difference = r#"/messages/0/content/0/text is "Do something else.", recorded was "Do it.""#;
    assert!(message.contains(difference), "{message}");
    let mismatch = Entry::ReplayMismatch { number: 1, difference: difference.into() };
    assert!(ran.gateway.contains(&mismatch), "{:?}", ran.gateway);
}

#[tokio::test]
async fn a_busy_service_is_recorded_with_the_rest() {
    let (kind, message) = ("rate_limit_error".to_owned(), "slow down".to_owned());
    let busy = Reply::Error { status: 429, kind, message, retry_after: Some(0) };
    let step = Step::new(Script::of([busy, Reply::text("Done.")])).await;
    let first = step.run().await;
    let second = again(&step).run().await;
    assert_eq!(second.transcript, first.transcript);
}

/// A recording as it would have been made in another year: harnesses tell the model the day.
fn years_ago(recording: &Path) {
    let output = std::process::Command::new("date").arg("+%Y").output().unwrap();
    let year = String::from_utf8(output.stdout).unwrap();
    let text = std::fs::read_to_string(recording).unwrap();
    std::fs::write(recording, text.replace(year.trim(), "1999")).unwrap();
}

#[tokio::test]
async fn every_harness_works_again_from_its_recording() {
    for harness in Harness::all() {
        let script = Script::of([
            Reply::tool("write", json!({"path": "out/greeting", "content": "hello"})),
            Reply::tool("shell", json!({"argv": ["curl", "http://evil"]})),
            Reply::tool("submit_result", json!({"verdict": 3})),
            Reply::tool("submit_result", json!({"verdict": "approve"})),
        ]);
        let mut step = Step::speaking(harness.api, script).await;
        let properties = json!({"verdict": {"type": "string"}});
        step.spec.result_schema = Some(json!({"type": "object", "properties": properties}));
        let first = step.run_with(async |spec| harness.run(spec).await).await;
        assert_eq!(first.ending().0, Ending::Completed, "{harness:?}: {:?}", first.ending());

        let repeat = |prompt: &str| {
            let mut again = again(&step);
            again.spec.prompt = prompt.to_owned();
            again.spec.result_schema.clone_from(&step.spec.result_schema);
            again
        };
        let again = repeat(&step.spec.prompt);
        years_ago(&step.dir.path().join("kept.jsonl"));
        let second = again.run_with(async |spec| harness.run(spec).await).await;
        assert_eq!(second.transcript, first.transcript, "{harness:?}: {:?}", second.gateway);
        assert_eq!(calls(&second.gateway), calls(&first.gateway), "{harness:?}");

        // What differs is not hidden by what always does.
        let other = repeat("Do something else.");
        let other = other.run_with(async |spec| harness.run(spec).await).await;
        let mut differences = other.gateway.iter().filter_map(|entry| match entry {
            Entry::ReplayMismatch { difference, .. } => Some(difference.as_str()),
            _ => None,
        });
        let difference = differences.next().unwrap_or_default();
        let named = r#""Do something else.", recorded was "Do it.""#;
        assert!(difference.contains(named), "{harness:?}: {difference}");
    }
}
