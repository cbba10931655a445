#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn notifications_say_what_changed_except_to_the_sender() {
    let changes = BTreeSet::from([
        Change::Build(BuildId(7)),
        Change::BuildQueued,
        Change::Job(JobId(12)),
        Change::CheckRequested,
        Change::Component,
    ]);
    let text = payload("a", &changes);
    assert_eq!(parse_payload(&text, "b").into_iter().collect::<BTreeSet<_>>(), changes);
    assert_eq!(parse_payload(&text, "a"), []);
    assert_eq!(parse_payload("x b1 z9", "a"), [Change::Build(BuildId(1)), Change::Everything]);
}

#[test]
fn too_many_changes_become_one() {
    let changes = (0..5_000).map(|id| Change::Job(JobId(id))).collect();
    assert_eq!(parse_payload(&payload("a", &changes), "b"), [Change::Everything]);
}

#[test]
fn addresses_are_shown_without_password() {
    assert_eq!(without_password("postgres://u:p@ss@h:5/d"), "postgres://u@h:5/d");
    assert_eq!(without_password("postgres://h/d"), "postgres://h/d");
    assert_eq!(without_password("sqlite:file.db"), "sqlite:file.db");
}
