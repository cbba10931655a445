#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::event::{AcrossSubstep, LogSource, TaskSummary};
use jb_model::{BuildStatus, Metadata, Plan, PlanId, PlanStep, Timestamp, Version};

use super::*;

fn recorded() -> Vec<(String, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/events");
    let mut streams: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    streams.sort();
    streams
}

#[test]
fn recorded_streams_come_back_to_the_letter() {
    let mut count = 0;
    for (path, stream) in recorded() {
        for line in stream.lines().filter_map(|line| line.strip_prefix("data: {")) {
            let line = format!("{{{line}");
            let (id, event) =
                from_envelope(&line).unwrap_or_else(|e| panic!("{path}: {line}: {e}"));
            assert_eq!(to_envelope(&event, id.unwrap()).unwrap(), line, "{path}");
            count += 1;
        }
    }
    assert!(count > 300, "only {count} events were found");
}

/// Events that no recording has.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn other_events_have_their_shape() {
    let origin = PlanId::new("5");
    let time = Timestamp::from_unix_seconds(7);
    let step = PlanStep::Do(Vec::new());
    let plan = Plan { id: PlanId::new("5/0/0"), attempts: Vec::new(), step };
    let version = Version::from([("ref".to_owned(), "a".to_owned())]);
    let metadata = vec![Metadata { name: "by".to_owned(), value: "me".to_owned() }];
    let cases = [
        (
            BuildEvent::WaitingForWorker { origin: origin.clone(), time },
            r#"{"data":{"time":7,"origin":{"id":"5"}},"event":"waiting-for-worker","version":"1.0","event_id":"3"}"#,
        ),
        (
            BuildEvent::StreamingVolume {
                origin: origin.clone(),
                time,
                volume: "v".to_owned(),
                source_worker: "a".to_owned(),
                dest_worker: "b".to_owned(),
            },
            r#"{"data":{"time":7,"origin":{"id":"5"},"volume":"v","source_worker":"a","dest_worker":"b"},"event":"streaming-volume","version":"1.0","event_id":"3"}"#,
        ),
        (
            BuildEvent::WaitingForStreamedVolume {
                origin: origin.clone(),
                time,
                volume: "v".to_owned(),
                dest_worker: "b".to_owned(),
            },
            r#"{"data":{"time":7,"origin":{"id":"5"},"volume":"v","dest_worker":"b"},"event":"waiting-for-streamed-volume","version":"1.0","event_id":"3"}"#,
        ),
        (
            BuildEvent::SetPipelineChanged { origin: origin.clone(), changed: false },
            r#"{"data":{"origin":{"id":"5"},"changed":false},"event":"set-pipeline-changed","version":"1.0","event_id":"3"}"#,
        ),
        (
            BuildEvent::FinishPut {
                origin: origin.clone(),
                time,
                exit_status: 1,
                version: None,
                metadata: Vec::new(),
            },
            r#"{"data":{"origin":{"id":"5"},"time":7,"exit_status":1,"version":null},"event":"finish-put","version":"5.1","event_id":"3"}"#,
        ),
        (
            BuildEvent::FinishPut {
                origin: origin.clone(),
                time,
                exit_status: 0,
                version: Some(version),
                metadata,
            },
            r#"{"data":{"origin":{"id":"5"},"time":7,"exit_status":0,"version":{"ref":"a"},"metadata":[{"name":"by","value":"me"}]},"event":"finish-put","version":"5.1","event_id":"3"}"#,
        ),
        (
            BuildEvent::AcrossSubsteps {
                origin: origin.clone(),
                time,
                substeps: vec![AcrossSubstep { plan, values: vec![1.into(), true.into()] }],
            },
            r#"{"data":{"time":7,"origin":{"id":"5"},"substeps":[{"step":{"id":"5/0/0","do":[]},"values":[1,true]}]},"event":"across-substeps","version":"1.0","event_id":"3"}"#,
        ),
        (
            BuildEvent::StartTask {
                origin: origin.clone(),
                time,
                config: TaskSummary {
                    image: "docker:///x".to_owned(),
                    dir: "d".to_owned(),
                    inputs: vec![("a".to_owned(), "b".to_owned())],
                    ..TaskSummary::default()
                },
            },
            r#"{"data":{"time":7,"origin":{"id":"5"},"config":{"platform":"","image":"docker:///x","run":{"path":"","args":null,"dir":"d"},"inputs":[{"name":"a","path":"b"}]}},"event":"start-task","version":"5.0","event_id":"3"}"#,
        ),
        (
            BuildEvent::Log {
                origin,
                source: LogSource::Stdout,
                time,
                payload: "\u{1b}[1m<a> & \u{2028}é\t\u{7f}".to_owned(),
            },
            "{\"data\":{\"time\":7,\"origin\":{\"id\":\"5\",\"source\":\"stdout\"},\"payload\":\"\\u001b[1m\\u003ca\\u003e \\u0026 \\u2028é\\t\u{7f}\"},\"event\":\"log\",\"version\":\"5.1\",\"event_id\":\"3\"}",
        ),
        (
            BuildEvent::Status { status: BuildStatus::Aborted, time },
            r#"{"data":{"status":"aborted","time":7},"event":"status","version":"1.0","event_id":"3"}"#,
        ),
    ];
    for (event, json) in cases {
        assert_eq!(to_envelope(&event, 3).unwrap(), json);
        assert_eq!(from_envelope(json).unwrap(), (Some(3), event));
    }
}

#[test]
fn unknown_events_are_told_apart() {
    let unknown = r#"{"data":{},"event":"agent","version":"1.0","event_id":"1"}"#;
    assert!(
        matches!(from_envelope(unknown), Err(EventJsonError::UnknownType(event)) if event == "agent")
    );
    let newer =
        r#"{"data":{"status":"started","time":1},"event":"status","version":"2.0","event_id":"1"}"#;
    assert!(matches!(from_envelope(newer), Err(EventJsonError::UnknownVersion { .. })));
    let minor = newer.replace("2.0", "1.9");
    assert!(from_envelope(&minor).is_ok());
    assert!(matches!(from_envelope("{"), Err(EventJsonError::Json(_))));
}
