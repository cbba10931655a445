#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "p-j-b1-task-0", "namespace": "ci", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"jetbridge.dev/kind": "task"},
            "annotations": {
                "jetbridge.dev/handle": "b7-task-1", "jetbridge.dev/build-id": "7",
                "jetbridge.dev/step": "unit", "jetbridge.dev/attempt": "2",
            },
        },
        "spec": {
            "nodeName": "node1",
            "initContainers": [{"name": "prepare", "image": "app"}],
            "containers": [{"name": "main", "image": "app"}],
        },
        "status": status,
    }))
    .unwrap()
}

fn at(seconds: i64) -> Option<Timestamp> {
    // 2026-01-02T03:04:05Z
    Some(Timestamp::from_unix_seconds(1_767_323_045 + seconds))
}

#[test]
fn a_pod_says_what_it_is_and_whose() {
    let pod = pod(&json!({}));
    assert!(is_of_build(&pod, "7") && !is_of_build(&pod, "70") && !is_of_build(&pod, ""));
    let info = info(&pod);
    assert_eq!((info.name.as_str(), info.namespace.as_str()), ("p-j-b1-task-0", "ci"));
    assert_eq!(info.handle, Some(ContainerHandle::new("b7-task-1")));
    assert_eq!(
        (info.kind.as_str(), info.step.as_str(), info.attempt.as_str()),
        ("task", "unit", "2")
    );
    assert_eq!((info.phase.as_str(), info.node.as_str()), ("Pending", "node1"));
    assert_eq!((info.created_at, info.started_at, info.finished_at), (at(0), None, None));
    let containers: Vec<_> =
        info.containers.iter().map(|it| (it.name.as_str(), it.init, it.state)).collect();
    assert_eq!(containers, [("prepare", true, "waiting"), ("main", false, "waiting")]);
}

#[test]
fn a_pod_without_a_node_says_why() {
    let mut pod = pod(&json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory.",
    }]}));
    pod.spec.as_mut().unwrap().node_name = None;
    let info = info(&pod);
    assert_eq!(info.reason, "Unschedulable");
    assert_eq!(info.message, "0/1 nodes are available: 1 Insufficient memory.");
    assert_eq!((info.node.as_str(), info.scheduled_at), ("", None));
}

#[test]
fn times_and_ends_of_containers_are_told() {
    let pod = pod(&json!({
        "phase": "Failed", "startTime": "2026-01-02T03:04:06Z",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"},
        ],
        "initContainerStatuses": [{
            "name": "prepare", "image": "app", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-02T03:04:07Z"}},
        }],
        "containerStatuses": [{
            "name": "main", "image": "app", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {
                "exitCode": 137, "reason": "OOMKilled",
                "startedAt": "2026-01-02T03:04:08Z", "finishedAt": "2026-01-02T03:04:15Z",
            }},
        }],
    }));
    let info = info(&pod);
    assert_eq!(info.phase, "Failed");
    assert_eq!((info.scheduled_at, info.started_at, info.finished_at), (at(0), at(1), at(10)));
    let main = &info.containers[1];
    assert_eq!(
        (main.state, main.reason.as_str(), main.exit_code),
        ("terminated", "OOMKilled", Some(137))
    );
    assert_eq!((main.started_at, main.finished_at), (at(3), at(10)));
}

#[test]
fn an_image_that_does_not_come_is_its_containers_reason() {
    let pod = pod(&json!({"phase": "Pending", "containerStatuses": [{
        "name": "main", "image": "app", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
    }]}));
    let main = &info(&pod).containers[1];
    assert_eq!((main.state, main.reason.as_str()), ("waiting", "ImagePullBackOff"));
    assert_eq!(main.message, "no such image");
}

#[test]
fn a_pod_that_is_deleted_is_going() {
    let mut pod = pod(&json!({"phase": "Running"}));
    pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    assert_eq!(info(&pod).phase, "Terminating");
}
