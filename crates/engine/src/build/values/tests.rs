#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;

fn dummy(name: &str, vars: Value) -> VarSourceConfig {
    VarSourceConfig {
        name: name.to_owned(),
        kind: "dummy".to_owned(),
        config: json!({"vars": vars}),
    }
}

fn lookup(secrets: &Secrets, text: &str) -> Result<Option<Value>, String> {
    secrets.lookup(&VarRef::parse(text).unwrap())
}

#[test]
fn sources_may_use_each_other_in_any_order() {
    let secrets = Secrets::new(&[
        dummy("second", json!({"b": "((first:a))!"})),
        dummy("first", json!({"a": "x", "deep": {"c": 1}})),
    ])
    .unwrap();
    assert_eq!(lookup(&secrets, "second:b").unwrap(), Some(json!("x!")));
    assert_eq!(lookup(&secrets, "first:deep.c").unwrap(), Some(json!(1)));
    assert_eq!(lookup(&secrets, "first:none").unwrap(), None);
    assert_eq!(lookup(&secrets, "bare").unwrap(), None);
}

#[test]
fn what_cannot_be_resolved_is_named() {
    let circle = [dummy("a", json!({"x": "((b:x))"})), dummy("b", json!({"x": "((a:x))"}))];
    let error = Secrets::new(&circle).unwrap_err();
    assert!(error.contains("var source `a`"), "{error}");
    let vault = VarSourceConfig { name: "v".into(), kind: "vault".into(), config: Value::Null };
    let secrets = Secrets::new(&[vault]).unwrap();
    assert!(lookup(&secrets, "v:x").unwrap_err().contains("vault"));
    assert!(lookup(&secrets, "nope:x").unwrap_err().contains("missing source 'nope'"));
}

#[test]
fn lists_and_numbers_that_a_step_loaded_are_public() {
    let loaded = json!({"token": "abc", "deep": {"key": "def"}, "over": ["one", "two"], "n": 42});
    let mut private = Vec::new();
    private_texts(&loaded, &mut |text| private.push(text.to_owned()));
    private.sort();
    assert_eq!(private, ["abc", "def"]);
    let mut secret = Vec::new();
    texts(&loaded, &mut |text| secret.push(text.to_owned()));
    assert_eq!(secret.len(), 5, "what a secret store gave is all masked: {secret:?}");
}
