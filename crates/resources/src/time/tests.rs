#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn parsed(source: Value) -> anyhow::Result<(Schedule, bool)> {
    parse_source(&Fields::of("source", Some(&source)).unwrap())
}

fn at(text: &str) -> Zoned {
    text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC)
}

fn checked(source: Value, given: Option<&str>, now: &str) -> Vec<Value> {
    let (schedule, initial) = parsed(source).unwrap();
    check(&schedule, initial, given, &at(now)).unwrap()
}

#[test]
fn a_check_returns_the_given_version_and_a_due_one() {
    let source = json!({"interval": "5m"});
    assert_eq!(
        checked(source.clone(), None, "2024-05-15T10:00:00.5Z"),
        [json!({"time": "2024-05-15T10:00:00.5Z"})]
    );
    let given = "2024-05-15T09:55:00.000000000Z";
    assert_eq!(
        checked(source.clone(), Some(given), "2024-05-15T10:00:00Z"),
        [json!({"time": given}), json!({"time": "2024-05-15T10:00:00Z"})]
    );
    assert_eq!(checked(source, Some(given), "2024-05-15T09:59:00Z"), [json!({"time": given})]);
}

#[test]
fn an_initial_version_ignores_the_hours() {
    let hours = json!({"start": "1:00", "stop": "2:00"});
    assert_eq!(checked(hours, None, "2024-05-15T10:00:00Z"), Vec::<Value>::new());
    let hours = json!({"start": "1:00", "stop": "2:00", "initial_version": true});
    assert_eq!(checked(hours.clone(), None, "2024-05-15T10:00:00Z").len(), 1);
    assert_eq!(checked(hours, Some("2024-05-14T10:00:00Z"), "2024-05-15T10:00:00Z").len(), 1);
}

#[test]
fn what_is_wrong_is_named() {
    let message = |source| format!("{:#}", parsed(source).unwrap_err());
    assert_eq!(message(json!({"start": "1:00"})), "must configure 'stop' if 'start' is set");
    assert_eq!(message(json!({"stop": "1:00"})), "must configure 'start' if 'stop' is set");
    assert!(
        message(json!({"start": "soon", "stop": "2:00"}))
            .starts_with("source.start: invalid time \"soon\"")
    );
    assert!(
        message(json!({"interval": "often"}))
            .starts_with("source.interval: time: invalid duration")
    );
    assert!(message(json!({"days": ["Someday"]})).starts_with("source.days: unknown weekday"));
    assert!(
        message(json!({"location": "Moon/Sea"})).starts_with("source.location: unknown time zone")
    );
    assert_eq!(
        message(json!({"start": 1140, "stop": 1200})),
        "source.start: expected a string, got a number"
    );
}

#[test]
fn times_are_written_as_the_upstream_resource_writes_them() {
    let zone = TimeZone::get("America/New_York").unwrap();
    let there = at("2024-05-15T10:00:00.25Z").with_time_zone(zone);
    assert_eq!(rfc3339(&there), "2024-05-15T06:00:00.25-04:00");
    assert_eq!(
        long_form(&with_offset("2024-05-15T06:00:00.25-04:00").unwrap()),
        "2024-05-15 06:00:00.25 -0400 -0400"
    );
    assert_eq!(
        long_form(&with_offset("2024-05-15T10:00:00Z").unwrap()),
        "2024-05-15 10:00:00 +0000 UTC"
    );
}
