#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use jb_model::Timestamp;

use super::decide::{GraceSettings, Stale, Strays};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn set(handles: &[&str]) -> BTreeSet<String> {
    handles.iter().map(|handle| (*handle).to_owned()).collect()
}

#[test]
fn what_only_one_side_knows_goes_after_the_grace_period() {
    let grace = Duration::from_secs(300);
    let mut strays = Strays::default();
    let nothing = Stale::default();
    // `made` is being recorded, `gone` is being removed, `both` is as it should be.
    let look = |strays: &mut Strays, running: &[&str], recorded: &[&str], now| {
        strays.look(&set(running), &set(recorded), grace, at(now))
    };
    assert_eq!(look(&mut strays, &["both", "made"], &["both", "gone"], 0), nothing);
    assert_eq!(look(&mut strays, &["both", "made"], &["both", "gone"], 299), nothing);
    let stale = look(&mut strays, &["both", "made"], &["both", "gone"], 300);
    assert_eq!(stale, Stale { unknown: set(&["made"]), missing: set(&["gone"]) });
}

#[test]
fn who_appears_on_both_sides_starts_anew() {
    let grace = Duration::from_secs(300);
    let mut strays = Strays::default();
    strays.look(&set(&["a"]), &set(&[]), grace, at(0));
    strays.look(&set(&["a"]), &set(&["a"]), grace, at(200));
    assert_eq!(strays.look(&set(&["a"]), &set(&[]), grace, at(400)), Stale::default());
    assert_eq!(strays.look(&set(&["a"]), &set(&[]), grace, at(700)).unknown, set(&["a"]));
}

#[test]
fn failed_builds_may_keep_their_containers_for_good() {
    let settings = GraceSettings { failed: Duration::ZERO, ..GraceSettings::default() };
    let cutoffs = settings.cutoffs(at(1_000_000));
    assert_eq!(cutoffs.failed, Timestamp(i64::MIN));
    assert_eq!(cutoffs.ended, at(1_000_000 - 300));
    assert_eq!(GraceSettings::default().cutoffs(at(1_000_000)).failed, at(1_000_000 - 120 * 3600));
}

mod rounds;
