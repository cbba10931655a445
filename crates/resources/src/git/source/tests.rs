#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn parsed(source: Value) -> anyhow::Result<Source> {
    Source::parse(&Fields::of("source", Some(&source)).unwrap())
}

fn message(source: Value) -> String {
    format!("{:#}", parsed(source).unwrap_err())
}

#[test]
fn pathspecs_keep_what_is_wanted_and_drop_what_is_ignored() {
    let specs = |source: Value| parsed(source).unwrap().pathspecs();
    assert_eq!(specs(json!({"uri": "x"})), Vec::<String>::new());
    assert_eq!(specs(json!({"uri": "x", "paths": ["."]})), Vec::<String>::new());
    assert_eq!(specs(json!({"uri": "x", "paths": ["a", "b c/*"]})), ["a", "b c/*"]);
    assert_eq!(specs(json!({"uri": "x", "ignore_paths": ["a"]})), [".", ":!a"]);
}

#[test]
fn credentials_need_both_halves() {
    assert!(parsed(json!({"uri": "x", "username": "u"})).unwrap().access.login.is_none());
    let login = parsed(json!({"uri": "x", "username": "u", "password": 123}))
        .unwrap()
        .access
        .login
        .unwrap();
    assert_eq!(login.password, "123");
}

#[test]
fn what_is_wrong_or_unsupported_is_named() {
    assert_eq!(message(json!({})), "source.uri is required");
    assert!(message(json!({"uri": "--exec=x"})).starts_with("source.uri: "));
    assert!(message(json!({"uri": "x", "branch": "-b"})).starts_with("source.branch: "));
    assert_eq!(
        message(json!({"uri": "x", "https_tunnel": {}})),
        "source.https_tunnel: unsupported by this git resource"
    );
    assert_eq!(
        message(json!({"uri": "x", "git_crypt_key": "k"})),
        "source.git_crypt_key: unsupported by this git resource"
    );
    assert_eq!(
        message(json!({"uri": "x", "forward_agent": true})),
        "source.forward_agent: unsupported by this git resource"
    );
    assert_eq!(
        message(json!({"uri": "x", "tag_filter": "a", "tag_regex": "b"})),
        "cannot provide both tag_filter and tag_regex"
    );
    assert!(
        message(json!({"uri": "x", "tag_regex": "("}))
            .starts_with("source.tag_regex: invalid regular")
    );
    assert!(message(json!({"uri": "x", "tag_behaviour": "any"})).contains("match_tag_ancestors"));
    assert!(message(json!({"uri": "x", "version_depth": 0})).starts_with("source.version_depth: "));
    assert!(
        message(json!({"uri": "x", "git_config": [{"value": "1"}]}))
            .starts_with("source.git_config[0].name")
    );
    assert!(
        message(json!({"uri": "x", "commit_filter": {"include": "a"}}))
            .starts_with("source.commit_filter.include")
    );
}
