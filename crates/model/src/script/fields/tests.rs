#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;

fn message<T: std::fmt::Debug>(result: Result<T, FieldError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn values_are_read_with_the_leniency_of_templated_yaml() {
    let value = json!({"branch": 1.5, "flag": "true", "depth": "3", "empty": "", "none": null, "list": ["a", 2]});
    let fields = Fields::of("source", Some(&value)).unwrap();
    assert_eq!(fields.text("branch").unwrap().as_deref(), Some("1.5"));
    assert!(fields.flag("flag", false).unwrap());
    assert_eq!(fields.count("depth", 1).unwrap(), Some(3));
    assert_eq!(fields.filled("empty").unwrap(), None);
    assert_eq!(fields.text("none").unwrap(), None);
    assert_eq!(fields.texts("list").unwrap(), ["a", "2"]);
    assert_eq!(fields.texts("absent").unwrap(), Vec::<String>::new());
}

#[test]
fn a_wrong_type_is_named_with_its_path() {
    let value = json!({"uri": ["x"], "flag": "yes", "depth": -1, "list": ["a", {}], "inner": {"host": true}});
    let fields = Fields::of("source", Some(&value)).unwrap();
    assert_eq!(message(fields.text("uri")), "source.uri: expected a string, got a list");
    assert_eq!(
        message(fields.flag("flag", false)),
        "source.flag: expected true or false, got a string"
    );
    assert!(message(fields.count("depth", 1)).ends_with("from 1 to 4294967295, got -1"));
    assert_eq!(message(fields.texts("list")), "source.list[1]: expected a string, got a map");
    let inner = fields.map("inner").unwrap();
    assert_eq!(message(inner.text("host")), "source.inner.host: expected a string, got a boolean");
    assert_eq!(
        message(Fields::of("params", Some(&json!([])))),
        "params: expected a map, got a list"
    );
}

#[test]
fn unknown_keys_are_listed_as_paths() {
    let value = json!({"uri": "x", "urii": "y"});
    let fields = Fields::of("source", Some(&value)).unwrap();
    assert_eq!(fields.unknown(&["uri"]), ["source.urii"]);
}
