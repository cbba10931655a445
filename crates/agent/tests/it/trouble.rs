use jb_agent_protocol::Entry;
use jb_agent_protocol::transcript::Ending;
use jb_scripted_model::{Reply, Said, Script};

use crate::step::{Ran, Step};

fn overloaded(status: u16) -> Reply {
    let (kind, message) = ("overloaded_error".to_owned(), "Overloaded".to_owned());
    Reply::Error { status, kind, message, retry_after: Some(0) }
}

fn retries(ran: &Ran) -> Vec<String> {
    let reasons = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::Retry { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

#[tokio::test]
async fn a_busy_service_is_asked_again() {
    let script = Script::of([overloaded(429), overloaded(529), Reply::text("Done.")]);
    let step = Step::new(script).await;
    let ran = step.run().await;
    assert_eq!(ran.ending().0, Ending::Completed);
    assert_eq!(
        retries(&ran),
        ["HTTP 429: overloaded_error: Overloaded", "HTTP 529: overloaded_error: Overloaded"]
    );
}

#[tokio::test]
async fn a_service_that_stays_busy_is_given_up() {
    let script = Script::of((0..20).map(|_| overloaded(529)));
    let step = Step::new(script).await;
    let (ending, message, _) = step.run().await.ending();
    assert_eq!(ending, Ending::ModelFailed);
    assert!(message.starts_with("the model did not answer in 14 attempts: HTTP 529"), "{message}");
}

#[tokio::test]
async fn what_makes_no_sense_hangs_or_breaks_off_is_asked_for_again() {
    let half = || Said {
        text: "This is going to be a longer answer than that.".into(),
        ..Said::default()
    };
    let script = Script::of([
        Reply::Garbage("data: <html>\n\n".into()),
        Reply::Garbage("lorem ipsum".into()),
        Reply::CutOff(half()),
        Reply::Hang,
        Reply::Silence,
        Reply::text("Done."),
    ]);
    let mut step = Step::new(script).await;
    step.gateway.idle_timeout_ms = 100;
    let ran = step.run().await;
    assert_eq!(ran.ending().0, Ending::Completed);
    assert_eq!(retries(&ran).len(), 5, "{:?}", retries(&ran));
    let errors: Vec<String> = ran
        .gateway
        .iter()
        .filter_map(|entry| match entry {
            Entry::ModelCall { error, .. } => error.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(
        errors,
        [
            "an event of the stream is no JSON",
            "the answer was cut off",
            "the answer was cut off",
            "the model service said nothing for 0.1 s",
            "the model service said nothing for 0.1 s",
        ]
    );
}

#[tokio::test]
async fn a_wrong_key_is_no_reason_to_try_again() {
    let (kind, message) = ("authentication_error".to_owned(), "invalid x-api-key".to_owned());
    let refused = Reply::Error { status: 401, kind, message, retry_after: None };
    let step = Step::new(Script::of([refused])).await;
    let (ending, message, _) = step.run().await.ending();
    assert_eq!(ending, Ending::ModelFailed);
    assert_eq!(message, "HTTP 401: authentication_error: invalid x-api-key");
}

#[tokio::test]
async fn a_refusal_ends_the_work() {
    let stop_reason = Some("refusal".to_owned());
    let said = Said { text: "I cannot.".into(), stop_reason, ..Said::default() };
    let step = Step::new(Script::of([Reply::Say(said)])).await;
    let (ending, message, _) = step.run().await.ending();
    assert_eq!((ending, message.as_str()), (Ending::Refused, "the model refused to go on"));
}

#[tokio::test]
async fn an_answer_that_was_too_long_is_gone_on_with() {
    let stop_reason = Some("max_tokens".to_owned());
    let said = Said { text: "Part one".into(), stop_reason, ..Said::default() };
    let step = Step::new(Script::of([Reply::Say(said), Reply::text("and two.")])).await;
    assert_eq!(step.run().await.ending().0, Ending::Completed);
    let messages = step.model().received()[1].body["messages"].clone();
    assert_eq!(messages[2]["content"][0]["text"], "Go on.");
}
