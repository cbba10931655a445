#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::format;

#[test]
fn one_string_goes_into_the_format() {
    let apply = |pattern: &str| format(pattern, "abcdef0").unwrap();
    assert_eq!(apply("%s"), "abcdef0");
    assert_eq!(apply("v-%s.%%"), "v-abcdef0.%");
    assert_eq!(apply("%.3s|%9s|%-9s|"), "abc|  abcdef0|abcdef0  |");
    assert_eq!(apply("plain"), "plain");
    assert!(format("%d", "x").is_err());
    assert!(format("%", "x").is_err());
}
