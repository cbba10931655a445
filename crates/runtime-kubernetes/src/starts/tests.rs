#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

fn started(uid: &str, container: &str) -> Event {
    serde_json::from_value(json!({
        "metadata": {},
        "reason": "Started",
        "involvedObject": {"uid": uid, "fieldPath": format!("spec.containers{{{container}}}")},
    }))
    .unwrap()
}

fn pod(uid: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"uid": uid}})).unwrap()
}

#[test]
fn silence_means_something_only_while_events_come() {
    let starts = Starts::new();
    assert_eq!(starts.of(&pod("1"), "main"), None);
    starts.take(watcher::Event::InitApply(started("1", "main")));
    assert_eq!(starts.of(&pod("1"), "main"), Some(true));
    assert_eq!(starts.of(&pod("2"), "main"), None);
    starts.take(watcher::Event::InitDone);
    assert_eq!(starts.of(&pod("2"), "main"), Some(false));
    starts.take(watcher::Event::Apply(started("2", "main")));
    assert_eq!(starts.of(&pod("2"), "main"), Some(true));
    assert_eq!(starts.of(&pod("2"), "artifact-helper"), Some(false));
}

#[test]
fn a_start_stays_known_when_its_event_is_forgotten() {
    let starts = Starts::new();
    starts.take(watcher::Event::InitDone);
    starts.take(watcher::Event::Apply(started("1", "main")));
    starts.take(watcher::Event::Delete(started("1", "main")));
    assert_eq!(starts.of(&pod("1"), "main"), Some(true));
}

/// Nodes that are busy leave out events.
#[test]
fn a_status_makes_up_for_an_event_that_was_lost() {
    let starts = Starts::new();
    starts.take(watcher::Event::InitDone);
    for list in ["containerStatuses", "initContainerStatuses"] {
        let with = |state| {
            let container = json!({
                "name": "main", "state": state,
                "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            });
            serde_json::from_value(json!({"metadata": {"uid": "1"}, "status": {list: [container]}}))
        };
        let waiting: Pod = with(json!({"waiting": {}})).unwrap();
        let running: Pod = with(json!({"running": {}})).unwrap();
        assert_eq!(starts.of(&waiting, "main"), Some(false));
        assert_eq!(starts.of(&running, "main"), Some(true));
        assert_eq!(starts.of(&running, "other"), Some(false));
    }
}
