#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

#[test]
fn reads_what_go_reads() {
    for (text, nanos) in [
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1.5s", 1_500_000_000),
        (".5m", 30_000_000_000),
        ("1h2m3s", 3_723_000_000_000),
        ("+10m", 600_000_000_000),
        ("-10m", 0),
    ] {
        assert_eq!(parse(text).unwrap(), Duration::from_nanos(nanos), "{text}");
    }
}

#[test]
fn refuses_what_go_refuses() {
    for text in ["", "+", "10", "m", "1d", "1 s", "((x))", ".s", "99999999999999h", "1s-2s", "1é"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn writes_what_go_writes() {
    for (text, written) in [
        ("0", "0s"),
        ("1m", "1m0s"),
        ("90s", "1m30s"),
        ("1h", "1h0m0s"),
        ("1500ms", "1.5s"),
        ("250ms", "250ms"),
        ("1500ns", "1.5µs"),
        ("3ns", "3ns"),
        ("25h0.25s", "25h0m0.25s"),
    ] {
        let duration = parse(text).unwrap();
        assert_eq!(format(duration), written);
        assert_eq!(parse(written).unwrap(), duration);
    }
}
