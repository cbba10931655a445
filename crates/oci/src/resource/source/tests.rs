#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn parsed(source: Value) -> Result<Source, Invalid> {
    Source::parse(&Fields::of("source", Some(&source)).unwrap())
}

#[test]
fn what_is_followed_is_chosen_by_the_keys() {
    let follow = |source: Value| parsed(source).unwrap().follow;
    assert!(
        matches!(follow(json!({"repository": "a", "tag": 1.5})), Follow::Tag(tag) if tag == "1.5")
    );
    assert!(matches!(follow(json!({"repository": "a", "tag_regex": "x"})), Follow::Regex(_)));
    assert!(
        matches!(follow(json!({"repository": "a", "variant": "v"})), Follow::Semver(rule) if rule.variant.is_some())
    );
}

#[test]
fn platforms_are_completed_by_the_machines() {
    let platform =
        |value: Value| parsed(json!({"repository": "a", "platform": value})).unwrap().platform;
    assert_eq!(platform(json!({})), None);
    assert_eq!(
        platform(json!({"architecture": "arm64/v8"})).unwrap().to_string(),
        "linux/arm64/v8"
    );
    assert_eq!(platform(json!({"os": "windows"})).unwrap().os, "windows");
}

#[test]
fn what_is_wrong_or_unsupported_is_named() {
    let message = |source: Value| parsed(source).unwrap_err().to_string();
    assert_eq!(message(json!({})), "source.repository is required");
    assert!(
        message(json!({"repository": "A"}))
            .starts_with("source.repository: \"A\" is not an image name")
    );
    assert!(message(json!({"repository": "a:b"})).contains("source.tag"));
    assert!(message(json!({"repository": 5})).contains("expected a string, got a number"));
    assert!(
        message(json!({"repository": "a", "tag_regex": "("}))
            .starts_with("source.tag_regex: invalid")
    );
    assert!(
        message(json!({"repository": "a", "semver_constraint": ">>1"}))
            .starts_with("source.semver_constraint")
    );
    assert!(
        message(json!({"repository": "a", "registry_mirror": {"host": "a b"}}))
            .starts_with("source.registry_mirror.host")
    );
    for key in ["content_trust", "aws_region", "azure_acr"] {
        let mut source = json!({"repository": "a"});
        source[key] = json!("x");
        assert_eq!(
            message(source),
            format!("source.{key}: unsupported by this registry-image resource")
        );
    }
}
