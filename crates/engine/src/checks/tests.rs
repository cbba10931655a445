#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod rounds;

use std::time::Duration;

use jb_model::Timestamp;
use jb_model::config::CheckEvery;
use jb_store::CheckState;

use super::timing::{
    CheckRate, CheckSettings, Checkable, INTERVAL_MIN, RateLimit, checks_per_second, interval,
    spacing_after_failure,
};
use super::{Planned, Purpose, is_served};

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

#[test]
fn intervals_come_from_the_resource_then_the_operator() {
    let settings = CheckSettings {
        resource_interval: minutes(1),
        type_interval: minutes(2),
        webhook_interval: minutes(3),
        ..CheckSettings::default()
    };
    let plain = Checkable::Resource { has_webhook: false };
    let hooked = Checkable::Resource { has_webhook: true };
    assert_eq!(interval(&CheckEvery::Default, plain, &settings), Some(minutes(1)));
    assert_eq!(interval(&CheckEvery::Default, Checkable::Type, &settings), Some(minutes(2)));
    assert_eq!(interval(&CheckEvery::Default, hooked, &settings), Some(minutes(3)));
    assert_eq!(interval(&CheckEvery::Every(minutes(9)), hooked, &settings), Some(minutes(9)));
    assert_eq!(interval(&CheckEvery::Never, hooked, &settings), None);
    let always = CheckEvery::Every(Duration::ZERO);
    assert_eq!(interval(&always, plain, &settings), Some(INTERVAL_MIN), "not all the time");
}

#[test]
fn failing_checks_are_spaced_out_and_never_stop() {
    let mut before = None;
    let mut spacings = Vec::new();
    for _ in 0..7 {
        let spacing = spacing_after_failure(minutes(1), before);
        spacings.push(spacing.as_secs() / 60);
        before = Some(spacing);
    }
    assert_eq!(spacings, [1, 2, 4, 8, 10, 10, 10]);
    // One that is asked rarely anyway stays at that.
    assert_eq!(spacing_after_failure(minutes(30), Some(minutes(30))), minutes(30));
}

#[test]
fn the_rate_spreads_checks_and_catches_up_one_round() {
    let round = Duration::from_secs(10);
    let mut limit = RateLimit::default();
    // After a pause no more than one round's worth may start at once.
    assert_eq!(limit.take(1000, Some(2.0), at(1000), round), 21);
    assert_eq!(limit.take(1000, Some(2.0), at(1000), round), 0);
    assert_eq!(limit.take(1000, Some(2.0), at(1001), round), 2);
    assert_eq!(limit.take(1, Some(2.0), at(1005), round), 1);
    assert_eq!(limit.take(1000, None, at(1005), round), 1000);
}

#[test]
fn the_rate_fits_what_is_checked_all_the_time() {
    let settings = CheckSettings::default();
    assert_eq!(checks_per_second(&settings, 0), Some(1.0));
    assert_eq!(checks_per_second(&settings, 600), Some(10.0));
    let rate = |rate| CheckSettings { rate, ..settings };
    assert_eq!(checks_per_second(&rate(CheckRate::PerSecond(3)), 600), Some(3.0));
    assert_eq!(checks_per_second(&rate(CheckRate::Unlimited), 600), None);
}

#[test]
fn a_check_is_skipped_when_another_already_answered() {
    let planned = Planned {
        purpose: Purpose::Resource,
        skip_interval: false,
        has_from_version: false,
        interval: Some(minutes(1)),
        build_created: at(100),
        build_started: at(105),
    };
    let last = |start, end, succeeded| CheckState {
        last_start: Some(at(start)),
        last_end: Some(at(end)),
        succeeded,
        ..CheckState::default()
    };
    let now = at(110);
    // Periodic: as long as the interval lasts, whatever the last result.
    assert!(is_served(&planned, &last(50, 60, false), now));
    assert!(!is_served(&planned, &last(40, 50, true), now));
    let never = Planned { interval: None, ..planned };
    assert!(!is_served(&never, &last(50, 60, true), now));
    assert!(!is_served(&planned, &CheckState::default(), now));
    // Asked for: only one that started after the question and went well.
    let manual = Planned { skip_interval: true, ..planned };
    assert!(!is_served(&manual, &last(50, 60, true), now));
    assert!(!is_served(&manual, &last(100, 103, true), now));
    assert!(is_served(&manual, &last(101, 103, true), now));
    assert!(!is_served(&manual, &last(101, 103, false), now));
    let from = Planned { has_from_version: true, ..manual };
    assert!(!is_served(&from, &last(101, 103, true), now));
    // For an image: also one that ended since this build began.
    let image = Planned { purpose: Purpose::Image, ..planned };
    assert!(is_served(&image, &last(50, 60, true), now));
    assert!(!is_served(&image, &last(50, 60, false), now));
    let forced = Planned { skip_interval: true, ..image };
    assert!(!is_served(&forced, &last(50, 60, true), now));
    assert!(is_served(&forced, &last(50, 106, true), now));
}
