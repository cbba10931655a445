#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

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
