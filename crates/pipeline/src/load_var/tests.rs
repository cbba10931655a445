#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::{Format, decode, format_of};

#[test]
fn the_format_asked_for_or_by_extension() {
    for (asked, file, format) in [
        ("", "a/b.json", Format::Json),
        ("", "a/b.yml", Format::Yaml),
        ("", "a/b.yaml", Format::Yaml),
        ("", "a/b.trim", Format::Trim),
        ("", "a/b.raw", Format::Raw),
        ("", "a/b.txt", Format::Trim),
        ("", "a.json/b", Format::Trim),
        ("raw", "a/b.json", Format::Raw),
        ("yaml", "a/b", Format::Yaml),
    ] {
        assert_eq!(format_of(asked, file), Ok(format), "{asked} {file}");
    }
    assert_eq!(format_of("toml", "a/b").unwrap_err().to_string(), "invalid format toml");
}

#[test]
fn values() {
    assert_eq!(decode("", "a/b.json", br#" {"a": [1, 1.50]} "#), Ok(json!({"a": [1, 1.5]})));
    assert_eq!(decode("", "a/b.yml", b"a: yes\nb: 0644\n"), Ok(json!({"a": true, "b": 420})));
    assert_eq!(decode("", "a/b", b" x y\n\n"), Ok(json!("x y")));
    assert_eq!(decode("raw", "a/b", b" x\n"), Ok(json!(" x\n")));
    assert_eq!(decode("raw", "a/b", b"\xff"), Ok(json!("\u{fffd}")));
}

#[test]
fn unreadable_files_say_why() {
    let message = |file: &str, content: &[u8]| decode("", file, content).unwrap_err().to_string();
    assert!(message("a/b.json", b"{").starts_with("failed to parse a/b.json in format json: "));
    assert!(message("a/b.json", b"{} {}").contains("trailing characters"));
    assert!(message("a/b.yml", b"[").starts_with("failed to parse a/b.yml in format yaml: line 2"));
}
