#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn durations_are_sums_of_numbers_with_units() {
    let nanos = |text: &str| parse(text).unwrap().as_nanos();
    assert_eq!(nanos("0"), 0);
    assert_eq!(nanos("90m"), 5_400_000_000_000);
    assert_eq!(nanos("1h30m"), nanos("90m"));
    assert_eq!(nanos("1.5h"), nanos("90m"));
    assert_eq!(nanos("2m0.5s"), 120_500_000_000);
    assert_eq!(nanos("10ms"), 10_000_000);
    assert_eq!(nanos("3\u{b5}s"), nanos("3us"));
    assert_eq!(nanos(".5s"), 500_000_000);
}

#[test]
fn anything_else_is_refused() {
    for text in
        ["", "5", "m", "1x", "-1m", "1.2.3s", ".s", "1 m", "99999999999999999999h", "+", "1h-2m"]
    {
        assert!(parse(text).is_err(), "{text:?}");
    }
}
