#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;

use super::*;
use crate::scripted::{self, Answer as Said, refusal};

fn pod() -> Said {
    Said::Said(200, json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}))
}

/// As in a hurry.
const QUICK: Pace = Pace {
    patience: Duration::from_secs(30),
    call: Duration::from_millis(200),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
};

/// The outcome of looking for a pod, and how often it was asked for.
async fn look(script: Vec<Said>) -> (kube::Result<Pod>, usize) {
    let (client, asked) = scripted::client(script);
    let pods: Api<Pod> = Api::namespaced(client, "ci");
    let found = repeat("look for a pod", QUICK, || pods.get("p"), is_passing).await;
    let n_asked = asked.lock().unwrap().len();
    (found, n_asked)
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    let script = vec![
        refusal(
            409,
            "the object has been modified; please apply your changes to the latest version",
        ),
        refusal(410, "The provided continue parameter is too old"),
        refusal(429, "too many requests, please try again later"),
        refusal(500, "etcdserver: leader changed"),
        refusal(503, "apiserver not ready"),
        refusal(504, "Timeout: request did not complete within requested timeout"),
        Said::Silence,
        Said::Broken,
        pod(),
    ];
    let (found, n_asked) = look(script).await;
    assert_eq!((found.unwrap().metadata.name.as_deref(), n_asked), (Some("p"), 9));
}

#[tokio::test]
async fn what_does_not_pass_is_said_at_once_with_what_to_do() {
    for (code, message, advice) in [
        (401, "Unauthorized", "give the server's account this right"),
        (403, "pods \"p\" is forbidden: User cannot get", "in the namespace's Role"),
        (404, "namespaces \"ci\" not found", "create it, or name another"),
        (
            403,
            "pods \"p\" is forbidden: unable to create new content in namespace ci because it is being terminated",
            "create it anew once it is gone",
        ),
        (404, "pods \"p\" not found", "not found"),
        (409, "pods \"p\" already exists", "already exists"),
        (422, "Pod \"p\" is invalid: spec", "is invalid"),
    ] {
        let (found, n_asked) = look(vec![refusal(code, message), pod()]).await;
        let said = failed("cannot look", found.unwrap_err());
        assert!(matches!(said, Error::Io { .. }), "{code} {message}");
        let said = said.to_string();
        assert!(said.contains(message) && said.contains(advice), "{code}: {said}");
        assert_eq!((n_asked, said.lines().count()), (1, 1), "{code} {message}");
    }
}

#[tokio::test]
async fn an_api_server_that_stays_away_is_given_up_as_something_that_passes() {
    let (client, asked) = scripted::client((0..1000).map(|_| Said::Broken).collect());
    let pods: Api<Pod> = Api::namespaced(client, "ci");
    let pace = Pace { patience: Duration::from_millis(50), ..QUICK };
    let found = repeat("look for a pod", pace, || pods.get("p"), is_passing).await;
    assert!(matches!(failed("cannot look", found.unwrap_err()), Error::Transient { .. }));
    let n_asked = asked.lock().unwrap().len();
    assert!((2..50).contains(&n_asked), "it was asked {n_asked} times");
}

#[tokio::test]
async fn room_is_waited_for_only_where_a_pod_is_asked_for() {
    let full = || refusal(403, "pods \"p\" is forbidden: exceeded quota: few, requested: pods=1");
    let (client, asked) = scripted::client(vec![full(), full(), pod()]);
    let pods: Api<Pod> = Api::namespaced(client, "ci");
    repeat("create a pod", QUICK, || pods.get("p"), may_make_room).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 3);
    let (found, n_asked) = look(vec![full(), pod()]).await;
    assert!(matches!(failed("cannot look", found.unwrap_err()), Error::Transient { .. }));
    assert_eq!(n_asked, 1);
}
