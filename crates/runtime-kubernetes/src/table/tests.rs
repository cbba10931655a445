#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::scripted::{self, Answer, refusal};

fn pod(name: &str, uid: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {
        "name": name, "uid": uid, "annotations": {names::HANDLE: format!("handle-{name}")},
    }}))
    .unwrap()
}

fn table() -> PodTable {
    PodTable::new(jb_metrics::Metrics::default().pods)
}

fn has(table: &PodTable, name: &str) -> bool {
    table.of(&ContainerHandle::new(format!("handle-{name}"))).is_some()
}

#[test]
fn lists_take_the_place_of_what_was_known() {
    let table = table();
    table.take(watcher::Event::Apply(pod("gone", "1")));
    table.take(watcher::Event::Apply(pod("kept", "2")));
    assert!(!table.is_complete());
    table.take(watcher::Event::Init);
    // Made while the list was on its way: it is not in it.
    table.created(pod("fresh", "3"));
    table.take(watcher::Event::InitApply(pod("kept", "2")));
    table.take(watcher::Event::InitDone);
    assert!(table.is_complete());
    assert_eq!(["gone", "kept", "fresh"].map(|name| has(&table, name)), [false, true, true]);
}

#[test]
fn a_late_end_of_a_former_pod_does_not_hit_its_successor() {
    let table = table();
    table.created(pod("a", "old"));
    table.deleted("a");
    table.created(pod("a", "new"));
    table.take(watcher::Event::Delete(pod("a", "old")));
    assert!(has(&table, "a"));
    table.take(watcher::Event::Delete(pod("a", "new")));
    assert!(!has(&table, "a"));
}

#[test]
fn pods_that_are_going_are_not_there() {
    let table = table();
    let mut going = pod("a", "1");
    let time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    going.metadata.deletion_timestamp = Some(time);
    table.take(watcher::Event::Apply(going));
    assert!(!has(&table, "a"));
    assert!(table.all().is_empty());
}

#[test]
fn what_ends_by_itself_is_told_and_what_is_deleted_here_is_not() {
    let table = PodTable::new(jb_metrics::Metrics::default().pods);
    let mut endings = table.endings();
    let mut told = || {
        let told = endings.has_changed().unwrap();
        endings.mark_unchanged();
        told
    };
    let over = |name: &str, uid: &str| {
        let mut pod = pod(name, uid);
        let status = json!({"phase": "Failed", "reason": "Evicted"});
        pod.status = serde_json::from_value(status).unwrap();
        pod
    };
    table.take(watcher::Event::Apply(pod("a", "1")));
    assert!(!told());
    table.take(watcher::Event::Apply(over("a", "1")));
    assert!(told());
    // It is over already.
    table.take(watcher::Event::Apply(over("a", "1")));
    table.take(watcher::Event::Delete(over("a", "1")));
    assert!(!told());
    table.take(watcher::Event::Apply(pod("a", "2")));
    table.take(watcher::Event::Delete(pod("a", "2")));
    assert!(told());
    table.take(watcher::Event::Apply(pod("a", "3")));
    table.deleted("a");
    table.take(watcher::Event::Delete(pod("a", "3")));
    assert!(!told());
    // It went while nobody watched.
    table.take(watcher::Event::Apply(pod("b", "1")));
    table.take(watcher::Event::Init);
    table.take(watcher::Event::InitDone);
    assert!(told());
}

fn list(version: &str, names: &[&str]) -> Answer {
    let items: Vec<Pod> = names.iter().map(|name| pod(name, "1")).collect();
    Answer::Said(
        200,
        json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items,
        }),
    )
}

/// Follows a scripted API server until the table has this pod.
async fn until(script: Vec<Answer>, name: &str) -> (PodTable, Vec<String>) {
    let (client, asked) = scripted::client(script);
    let table = PodTable::new(jb_metrics::Metrics::default().pods);
    let mut changes = table.changes();
    let following = table.clone().follow(Api::namespaced(client, "ci"), "w".to_owned());
    let found = async {
        while !has(&table, name) {
            changes.changed().await.unwrap();
        }
        while !table.is_complete() {
            changes.changed().await.unwrap();
        }
    };
    tokio::select! {
        () = following => {}
        () = found => {}
    }
    let asked = asked.lock().unwrap().clone();
    (table, asked)
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_begun_anew() {
    let gone = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 1 (5)", "reason": "Expired", "code": 410,
    }});
    let script = vec![
        list("1", &["old"]),
        Answer::Watched(vec![gone]),
        list("5", &["new"]),
        Answer::Silence,
    ];
    let (table, _) = until(script, "new").await;
    assert!(!has(&table, "old"));
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_where_it_was() {
    let event = |kind: &str, name: &str, version: &str| {
        let mut pod = pod(name, "1");
        pod.metadata.resource_version = Some(version.to_owned());
        json!({"type": kind, "object": pod})
    };
    let bookmark = json!({"type": "BOOKMARK", "object": {
        "kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "spec": {"containers": []},
    }});
    let script = vec![
        list("1", &["a"]),
        // Told twice, which changes nothing.
        Answer::Watched(vec![event("ADDED", "b", "3"), event("ADDED", "b", "3"), bookmark]),
        refusal(503, "apiserver not ready"),
        Answer::Broken,
        Answer::Watched(vec![event("DELETED", "b", "8"), event("ADDED", "c", "9")]),
    ];
    let (table, asked) = until(script, "c").await;
    assert_eq!(["a", "b", "c"].map(|name| has(&table, name)), [true, false, true]);
    assert!(asked[4].contains("resourceVersion=7"), "{asked:?}");
}
