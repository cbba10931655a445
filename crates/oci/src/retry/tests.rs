#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn waits_double_and_end() {
    let policy =
        RetryPolicy { attempts: 5, base: Duration::from_secs(1), most: Duration::from_secs(3) };
    let waits: Vec<_> = (1..=6).map(|attempt| policy.delay(attempt, None, 1.0)).collect();
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(waits, [seconds(1), seconds(2), seconds(3), seconds(3), None, None]);
    assert_eq!(policy.delay(1, None, 0.0), Some(Duration::from_millis(500)));
    assert!(RetryPolicy { attempts: u32::MAX, ..policy }.delay(u32::MAX - 1, None, 0.5).is_some());
}

#[test]
fn a_registry_may_ask_for_a_wait() {
    let policy = RetryPolicy::default();
    assert_eq!(policy.delay(1, Some(Duration::ZERO), 1.0), Some(Duration::ZERO));
    assert_eq!(policy.delay(1, Some(Duration::from_secs(9999)), 1.0), Some(MAX_RETRY_AFTER));
    let now = "2015-10-21T07:27:30Z".parse().unwrap();
    assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(30)));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
    assert_eq!(retry_after("soon", now), None);
}

#[test]
fn jitter_is_a_fraction() {
    assert!((0..100).map(|_| jitter()).all(|jitter| (0.0..1.0).contains(&jitter)));
}
