#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::plan::{TypeImage, VersionSource};
use jb_model::{Object, Plan, PlanStep};
use serde_json::json;

use super::*;

fn image() -> ImageNeed {
    let get = jb_model::plan::GetPlan {
        name: "image".to_owned(),
        kind: "registry-image".to_owned(),
        resource: String::new(),
        source: Object::from_iter([("password".to_owned(), json!("((secret))"))]),
        params: Object::new(),
        version: VersionSource::From(PlanId::new("5/image-check")),
        image: TypeImage { base_type: "registry-image".to_owned(), ..TypeImage::default() },
        tags: Vec::new(),
        timeout: String::new(),
    };
    let step = PlanStep::Get(Box::new(get));
    ImageNeed {
        check: None,
        get: Plan { id: PlanId::new("5/image-get"), attempts: Vec::new(), step },
    }
}

/// The stored texts are a contract with what earlier servers stored.
#[test]
fn stored_events_keep_their_form() {
    let node = || PlanId::new("5");
    let result = |outcome, message: Option<&str>| LeafResult {
        outcome,
        message: message.map(str::to_owned),
    };
    let get = serde_json::to_string(&to_private(&image().get).unwrap()).unwrap();
    let cases = [
        (Event::Start, r#"{"v":1,"at":7,"event":"start"}"#.to_owned()),
        (Event::Abort, r#"{"v":1,"at":7,"event":"abort"}"#.to_owned()),
        (Event::Tick, r#"{"v":1,"at":7,"event":"tick"}"#.to_owned()),
        (
            Event::Prepared { node: node(), images: Vec::new() },
            r#"{"v":1,"at":7,"event":"prepared","node":"5"}"#.to_owned(),
        ),
        (
            Event::Prepared { node: node(), images: vec![image()] },
            format!(r#"{{"v":1,"at":7,"event":"prepared","node":"5","image":{{"get":{get}}}}}"#),
        ),
        (
            Event::Prepared { node: node(), images: vec![image(), image()] },
            format!(
                r#"{{"v":1,"at":7,"event":"prepared","node":"5","image":{{"get":{get}}},"more_images":[{{"get":{get}}}]}}"#
            ),
        ),
        (
            Event::Started { node: node(), timeout: None },
            r#"{"v":1,"at":7,"event":"started","node":"5"}"#.to_owned(),
        ),
        (
            Event::Started { node: node(), timeout: Some(Duration::from_millis(1500)) },
            r#"{"v":1,"at":7,"event":"started","node":"5","timeout_us":1500000}"#.to_owned(),
        ),
        (
            Event::Finished {
                node: node(),
                phase: Phase::Prepare,
                result: result(Outcome::Errored, Some("why")),
            },
            r#"{"v":1,"at":7,"event":"finished","node":"5","phase":"prepare","outcome":"errored","message":"why"}"#
                .to_owned(),
        ),
        (
            Event::Finished { node: node(), phase: Phase::Run, result: result(Outcome::Failed, None) },
            r#"{"v":1,"at":7,"event":"finished","node":"5","phase":"run","outcome":"failed"}"#
                .to_owned(),
        ),
        (
            Event::AcrossValues { node: node(), values: Ok(vec![vec![json!(1)], vec![]]) },
            r#"{"v":1,"at":7,"event":"across_values","node":"5","values":[[1],[]]}"#.to_owned(),
        ),
        (
            Event::AcrossValues { node: node(), values: Err("no".to_owned()) },
            r#"{"v":1,"at":7,"event":"across_values","node":"5","error":"no"}"#.to_owned(),
        ),
    ];
    for (event, json) in cases {
        assert_eq!(to_stored(Timestamp(7), &event).unwrap(), json);
        assert_eq!(from_stored(&json).unwrap(), (Timestamp(7), event));
    }
}

#[test]
fn newer_and_broken_events_are_told_apart() {
    let newer = r#"{"v":2,"at":7,"event":"start"}"#;
    assert!(matches!(from_stored(newer), Err(MachineJsonError::UnknownVersion(2))));
    let broken = r#"{"v":1,"at":7,"event":"other"}"#;
    assert!(matches!(from_stored(broken), Err(MachineJsonError::Json(_))));
    let plan = r#"{"v":1,"at":7,"event":"prepared","node":"5","image":{"get":"{}"}}"#;
    assert!(matches!(from_stored(plan), Err(MachineJsonError::Plan(_))));
}
