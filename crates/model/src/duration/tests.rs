#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;

use super::{GoDuration, format, parse, parse_duration};

#[test]
fn durations_read_and_print_like_go() {
    for (text, nanoseconds, printed) in [
        ("1h30m", 5_400_000_000_000, "1h30m0s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        ("10m", 600_000_000_000, "10m0s"),
        ("-1m", -60_000_000_000, "-1m0s"),
        ("+5s", 5_000_000_000, "5s"),
        ("0", 0, "0s"),
        ("1.s", 1_000_000_000, "1s"),
        (".5s", 500_000_000, "500ms"),
        ("1h1h", 7_200_000_000_000, "2h0m0s"),
        ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
        ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ("0.0000000001s", 0, "0s"),
        ("1us", 1000, "1µs"),
        ("1.5µs", 1500, "1.5µs"),
        ("100ms", 100_000_000, "100ms"),
        ("1.0000000001h", 3_600_000_000_360, "1h0m0.00000036s"),
    ] {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration, GoDuration { nanoseconds }, "{text}");
        assert_eq!(duration.to_string(), printed, "{text}");
    }
}

#[test]
fn what_is_no_duration() {
    for (text, message) in [
        ("", r#"time: invalid duration """#),
        ("5", r#"time: missing unit in duration "5""#),
        ("1x", r#"time: unknown unit "x" in duration "1x""#),
        (".s", r#"time: invalid duration ".s""#),
        ("-", r#"time: invalid duration "-""#),
        ("1e3s", r#"time: unknown unit "e" in duration "1e3s""#),
        ("1s ", r#"time: unknown unit "s " in duration "1s ""#),
        (" 1s", r#"time: invalid duration " 1s""#),
        ("2562048h", r#"time: invalid duration "2562048h""#),
        ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
        ("99999999999999999999s", r#"time: invalid duration "99999999999999999999s""#),
        ("((timeout))", r#"time: invalid duration "((timeout))""#),
    ] {
        assert_eq!(parse_duration(text).unwrap_err(), message);
    }
}

#[test]
fn to_and_from_the_standard_type() {
    let minute = parse_duration("1m").unwrap();
    assert_eq!(minute.to_std(), Some(Duration::from_secs(60)));
    assert_eq!(GoDuration::from_std(Duration::from_secs(60)), minute);
    assert_eq!(parse_duration("-1s").unwrap().to_std(), None);
    assert_eq!(GoDuration::from_std(Duration::MAX).nanoseconds, i64::MAX);
}

#[test]
fn a_negative_limit_has_passed_already() {
    assert_eq!(parse("-10m"), Ok(Duration::ZERO));
    assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(format(Duration::from_secs(90)), "1m30s");
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(nanoseconds in any::<i64>()) {
        let duration = GoDuration { nanoseconds };
        prop_assert_eq!(parse_duration(&duration.to_string()), Ok(duration));
    }

    #[test]
    fn any_text_is_a_duration_or_an_error(text in "[-+0-9.a-zµ ]{0,30}|\\PC{0,20}") {
        let _ = parse_duration(&text);
    }
}
