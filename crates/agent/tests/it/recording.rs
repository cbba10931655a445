use jb_agent_protocol::Entry;
use jb_agent_protocol::transcript::Ending;
use jb_scripted_model::{Reply, Script};
use serde_json::json;

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
    let calls = |entries: &[Entry]| {
        entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::ModelCall { number, status, usage, cost_micros, .. } => {
                    Some((*number, *status, *usage, *cost_micros))
                }
                _ => None,
            })
            .collect::<Vec<_>>()
    };
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
