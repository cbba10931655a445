#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "spec": {
            "nodeName": "n1",
            "activeDeadlineSeconds": 60,
            "containers": [
                {"name": "main", "image": "i", "resources": {"limits": {"memory": "67108864"}}},
            ],
        },
        "status": status,
    }))
    .unwrap()
}

fn waiting(reason: &str, message: &str) -> Value {
    let state = json!({"waiting": {"reason": reason, "message": message}});
    json!({"phase": "Pending", "containerStatuses": [container("main", state)]})
}

fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "registry.test/i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn ended(name: &str, code: i32, reason: &str, message: &str) -> Value {
    container(name, json!({"terminated": {"exitCode": code, "reason": reason, "message": message}}))
}

/// Why a pod is over; empty when it is not.
fn problem(status: Value) -> String {
    match standing(&pod(status)) {
        Standing::Over(Problem::Image(text)) => format!("image: {text}"),
        Standing::Over(Problem::NoVolume(text)) => format!("volume: {text}"),
        Standing::Over(Problem::Other(text)) => text,
        Standing::Waiting(_) | Standing::Placed => String::new(),
    }
}

#[test]
fn images_that_never_come_are_told_and_others_waited_for() {
    let missing = "failed to resolve reference: registry.test/i: not found";
    let refused = "pull access denied, repository does not exist or may require authorization";
    for (reason, message) in [
        ("ErrImagePull", missing),
        ("ImagePullBackOff", missing),
        ("ErrImagePull", refused),
        ("InvalidImageName", "couldn't parse image name"),
        ("ErrImageNeverPull", "is not present with pull policy of Never"),
    ] {
        let text = problem(waiting(reason, message));
        assert!(text.starts_with("image: ") && text.contains(message), "{reason}: {text}");
    }
    for message in ["dial tcp: i/o timeout", "Back-off pulling image", "429 Too Many Requests"] {
        assert_eq!(problem(waiting("ImagePullBackOff", message)), "");
    }
    assert_eq!(problem(waiting("ContainerCreating", "")), "");
}

#[test]
fn ends_are_told_by_their_cause() {
    let over = |reason: &str, message: &str| {
        problem(json!({"phase": "Failed", "reason": reason, "message": message}))
    };
    for (reason, word) in [
        ("Evicted", "evicted from node n1: low on disk"),
        ("NodeLost", "node n1 was lost"),
        ("DeadlineExceeded", "longer than the 60 seconds"),
        ("UnexpectedAdmissionError", "node n1 refused"),
        ("", "the pod ended"),
    ] {
        let text = over(reason, "low on disk");
        assert!(text.contains(word), "{reason}: {text}");
    }
    let oom =
        json!({"phase": "Failed", "containerStatuses": [ended("main", 137, "OOMKilled", "")]});
    assert!(problem(oom).contains("memory limit of 67108864 bytes"));
    let helper = json!({"phase": "Running", "containerStatuses": [ended("artifact-helper", 137, "OOMKilled", "")]});
    assert!(problem(helper).contains("`artifact-helper` was killed"));
    let preempted = json!({
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}],
        "containerStatuses": [ended("main", 143, "Error", "")],
    });
    assert!(problem(preempted).contains("higher priority"));
}

#[test]
fn what_the_cluster_takes_away_is_told_before_it_has_ended() {
    let of = |conditions: serde_json::Value| {
        let mut pod = pod(json!({"phase": "Running", "conditions": conditions}));
        pod.spec.get_or_insert_default().node_name = Some("n1".to_owned());
        lost(&pod)
    };
    let taken = json!([{
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "deleting due to NoExecute taint",
    }]);
    assert_eq!(
        of(taken).unwrap(),
        "the pod was lost: its node does not answer or takes no pods any more \
         (DeletionByTaintManager on node n1): deleting due to NoExecute taint"
    );
    assert_eq!(of(json!([])), None);
}

#[test]
fn inputs_that_are_gone_are_told_as_such() {
    let prepare = |code, message| {
        let status = ended("prepare", code, "Error", message);
        problem(json!({"phase": "Pending", "initContainerStatuses": [status]}))
    };
    assert_eq!(prepare(44, "volume `v1` does not exist\n"), "volume: v1");
    assert!(
        prepare(1, "no space left")
            .contains("`prepare` ended with status 1 (Error): no space left")
    );
    assert_eq!(prepare(0, ""), "");
}

#[test]
fn what_a_pod_waits_for_is_said() {
    let mut unplaced = pod(json!({
        "phase": "Pending",
        "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory.",
        }],
    }));
    unplaced.spec.as_mut().unwrap().node_name = None;
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    assert_eq!(standing(&unplaced), Standing::Waiting(why.into()));
    assert_eq!(waiting_for(&unplaced), format!("no node takes it: {why}"));
    let pulling = pod(waiting("ImagePullBackOff", "i/o timeout"));
    let why = "node n1 cannot pull image `registry.test/i` yet: i/o timeout";
    assert_eq!(waiting_for(&pulling), why);
    assert_eq!(standing(&pulling), Standing::Placed);
}

#[test]
fn answers_of_the_api_server() {
    let quota = "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    let rights = "pods is forbidden: User \"u\" cannot create resource \"pods\"";
    for (code, message, expected) in [
        (403, quota, Answer::Full),
        (403, rights, Answer::Forbidden),
        (401, "Unauthorized", Answer::Forbidden),
        (404, "namespaces \"ci\" not found", Answer::Missing),
        (409, "pods \"x\" already exists", Answer::Exists),
        (409, "object is being deleted: pods \"x\" already exists", Answer::Exists),
        (409, "the object has been modified", Answer::Busy),
        (410, "too old resource version", Answer::Busy),
        (429, "too many requests", Answer::Busy),
        (500, "etcdserver: leader changed", Answer::Busy),
        (503, "apiserver not ready", Answer::Busy),
        (504, "timeout", Answer::Busy),
        (422, "spec.containers[0].image: Required value", Answer::Refused),
    ] {
        assert_eq!(answer(code, message), expected, "{code} {message}");
    }
}

#[test]
fn what_a_pod_waits_for_is_told_if_it_is_out_of_the_ordinary() {
    for ordinary in ["ContainerCreating", "PodInitializing"] {
        assert_eq!(obstacle(&pod(waiting(ordinary, ""))), None);
    }
    assert_eq!(obstacle(&pod(json!({"phase": "Running"}))), None);
    let refused = "failed to do request: connection refused";
    let back_off = format!("Back-off pulling image \"registry.test/i\": ErrImagePull: {refused}");
    let expected = format!("node n1 cannot pull image `registry.test/i` yet: {refused}");
    for (reason, message) in [("ErrImagePull", refused), ("ImagePullBackOff", &back_off)] {
        assert_eq!(obstacle(&pod(waiting(reason, message))).unwrap(), expected);
    }
    let bare = obstacle(&pod(waiting("ImagePullBackOff", "Back-off pulling image \"i\""))).unwrap();
    assert!(expected.starts_with(&bare), "{bare}");
    let other = obstacle(&pod(waiting("CreateContainerError", "no such device"))).unwrap();
    assert_eq!(other, "container `main` on node n1: CreateContainerError: no such device");
}
