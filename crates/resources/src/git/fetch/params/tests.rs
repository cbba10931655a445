#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;

fn parsed(params: Value) -> anyhow::Result<Params> {
    Params::parse(&Fields::of("params", Some(&params)).unwrap())
}

#[test]
fn submodules_are_all_none_or_some() {
    assert_eq!(parsed(json!({})).unwrap().submodules, Submodules::All);
    assert_eq!(parsed(json!({"submodules": "none"})).unwrap().submodules, Submodules::None);
    let some = parsed(json!({"submodules": ["lib/a", "b"]})).unwrap().submodules;
    assert!(some.contains("lib/a") && some.contains("b") && some.contains("deep/b"));
    assert!(!some.contains("lib/ab") && !some.contains("a"));
    assert!(parsed(json!({"submodules": "some"})).is_err());
}

#[test]
fn branches_to_fetch_cannot_be_options() {
    assert!(parsed(json!({"fetch": ["-x"]})).is_err());
    assert_eq!(parsed(json!({"fetch": ["dev"]})).unwrap().fetch, ["dev"]);
    assert_eq!(parsed(json!({"depth": 0})).unwrap().depth, None);
    assert_eq!(parsed(json!({"depth": "2"})).unwrap().depth, Some(2));
}
