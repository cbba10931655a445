#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn daily() -> Schedule {
    Schedule {
        zone: TimeZone::UTC,
        start: Time::midnight(),
        stop: Time::midnight(),
        interval: None,
        days: Vec::new(),
        start_after: None,
    }
}

fn hours(start: (i8, i8), stop: (i8, i8)) -> Schedule {
    let time = |(hour, minute)| Time::constant(hour, minute, 0, 0);
    Schedule { start: time(start), stop: time(stop), ..daily() }
}

/// Whether a version is due at `now` when the last was made at `previous` (RFC 3339, empty for none).
fn due(schedule: &Schedule, previous: &str, now: &str) -> bool {
    let previous = (!previous.is_empty()).then(|| previous.parse().unwrap());
    let now: Timestamp = now.parse().unwrap();
    schedule.due(previous, &now.to_zoned(TimeZone::UTC))
}

#[test]
fn without_anything_one_version_a_day_is_due() {
    let now = "2024-05-15T10:00:00Z";
    assert!(due(&daily(), "", now));
    assert!(!due(&daily(), "2024-05-15T00:00:00Z", now));
    assert!(due(&daily(), "2024-05-14T23:59:59Z", now));
}

#[test]
fn a_range_allows_one_version_within_it() {
    let schedule = hours((9, 0), (11, 0));
    assert!(due(&schedule, "", "2024-05-15T09:00:00Z"));
    assert!(!due(&schedule, "", "2024-05-15T08:59:59Z"));
    assert!(!due(&schedule, "", "2024-05-15T11:00:00Z"));
    assert!(!due(&schedule, "2024-05-15T09:10:00Z", "2024-05-15T10:00:00Z"));
    assert!(due(&schedule, "2024-05-14T10:59:00Z", "2024-05-15T10:00:00Z"));
    assert!(!due(&schedule, "2024-05-14T10:59:00Z", "2024-05-15T12:00:00Z"));
}

#[test]
fn a_range_may_pass_midnight() {
    let schedule = hours((23, 0), (1, 0));
    assert!(due(&schedule, "", "2024-05-15T23:30:00Z"));
    assert!(due(&schedule, "", "2024-05-16T00:30:00Z"));
    assert!(!due(&schedule, "2024-05-15T23:30:00Z", "2024-05-16T00:30:00Z"));
    assert!(!due(&schedule, "", "2024-05-16T01:00:00Z"));
}

#[test]
fn an_interval_counts_from_the_last_version() {
    let schedule = Schedule { interval: Some(Duration::from_secs(300)), ..daily() };
    assert!(!due(&schedule, "2024-05-15T10:00:00Z", "2024-05-15T10:04:59.999Z"));
    assert!(due(&schedule, "2024-05-15T10:00:00Z", "2024-05-15T10:05:00Z"));
    let schedule = Schedule { interval: Some(Duration::from_secs(60)), ..hours((9, 0), (11, 0)) };
    assert!(due(&schedule, "2024-05-15T09:58:00Z", "2024-05-15T10:00:00Z"));
    assert!(!due(&schedule, "2024-05-15T09:58:00Z", "2024-05-15T12:00:00Z"));
}

#[test]
fn days_are_those_of_the_location() {
    let new_york = TimeZone::get("America/New_York").unwrap();
    let schedule = Schedule { days: vec![Weekday::Tuesday], zone: new_york, ..daily() };
    // Wednesday 02:00 UTC is still Tuesday there.
    assert!(due(&schedule, "", "2024-05-15T02:00:00Z"));
    assert!(!due(&schedule, "", "2024-05-15T05:00:00Z"));
}

#[test]
fn hours_are_wall_clock_hours_over_a_time_change() {
    let new_york = TimeZone::get("America/New_York").unwrap();
    let schedule = Schedule { zone: new_york, ..hours((9, 0), (10, 0)) };
    assert!(due(&schedule, "", "2024-03-09T14:00:00Z"));
    assert!(!due(&schedule, "", "2024-03-10T14:00:00Z"));
    assert!(due(&schedule, "", "2024-03-10T13:00:00Z"));
}

#[test]
fn nothing_is_due_before_the_start_date() {
    let after = jiff::civil::date(2024, 5, 15).at(12, 0, 0, 0);
    let schedule = Schedule { start_after: Some(after), ..daily() };
    assert!(!due(&schedule, "", "2024-05-15T12:00:00Z"));
    assert!(due(&schedule, "", "2024-05-15T12:00:01Z"));
}
