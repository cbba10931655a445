#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::{Object, Value};
use proptest::prelude::*;
use serde_json::json;

use super::{from_query, parse_pipeline_text, parse_text, pipeline_text, to_query, to_text};

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

#[test]
fn text_quotes_only_where_it_must() {
    for (vars, text) in [
        (json!({"a": "b"}), "a:b"),
        (json!({"a": "1"}), r#"a:"1""#),
        (json!({"a": 1}), "a:1"),
        (json!({"a": ""}), r#"a:"""#),
        (json!({"a": "x y"}), r#"a:"x y""#),
        (json!({"a": {"d": null, "b.c": [1, "x"]}}), r#"a."b.c":[1,"x"],a.d:null"#),
        (json!({"a": "yes"}), r#"a:"yes""#),
        (json!({"a": "é<"}), r"a:é\u003c"),
        (json!({"a": {}}), ""),
        (json!({"a": "[x"}), r#"a:"[x""#),
        (json!({"b/c": true, "a": 1}), r#""b/c":true,a:1"#),
        (json!({"a": "2020-01-01"}), "a:2020-01-01"),
    ] {
        assert_eq!(to_text(&object(vars)), text);
    }
    assert_eq!(pipeline_text("p", None), "p");
    assert_eq!(
        pipeline_text("p", Some(&object(json!({"branch": "feat/one"})))),
        r#"p/branch:"feat/one""#
    );
}

#[test]
fn text_is_read() {
    for (text, vars) in [
        ("branch:master", json!({"branch": "master"})),
        (
            r#"branch:master,list:[1, "2"],other:{foo:bar: 123}"#,
            json!({"branch": "master", "list": [1, "2"], "other": {"foo:bar": 123}}),
        ),
        (
            r#"field1:{a: "{", b: '['},field2:hello"#,
            json!({"field1": {"a": "{", "b": "["}, "field2": "hello"}),
        ),
        (r#"a:,b:"",c:null"#, json!({"a": null, "b": "", "c": null})),
        ("field.0:0,field.1:1", json!({"field": {"0": 0, "1": 1}})),
        ("branch: master, other: 123", json!({"branch": "master", "other": 123})),
        (r#""some.field:here":abc"#, json!({"some.field:here": "abc"})),
        (r#"a:'foo,bar',b:"v:w""#, json!({"a": "foo,bar", "b": "v:w"})),
        (
            r#""my.field".k."sub:2":"v","my.field".other:'o'"#,
            json!({"my.field": {"k": {"sub:2": "v"}, "other": "o"}}),
        ),
    ] {
        assert_eq!(parse_text(text), Ok(object(vars)), "{text}");
    }
    let (name, vars) = parse_pipeline_text("p/a:1").unwrap();
    assert_eq!((name.as_str(), vars), ("p", Some(object(json!({"a": 1})))));
    assert_eq!(parse_pipeline_text("p").unwrap(), ("p".to_owned(), None));
}

#[test]
fn text_that_holds_no_vars() {
    let message = |text: &str| parse_text(text).unwrap_err().to_string();
    assert_eq!(message(r#""my.field".:bad"#), r#"invalid var '"my.field".': empty field"#);
    assert!(message("hello:{bad: yaml").starts_with("invalid value for key 'hello': line"));
    assert_eq!(
        message("nothing"),
        "instance vars should be formatted as <key1:value1>(,<key2:value2>)"
    );
}

#[test]
fn query_pairs() {
    let vars = object(json!({"a": {"x": "1", "y.z": [true]}, "b": null}));
    let pairs = to_query(&vars);
    let expected = [("vars.a.\"y.z\"", "[true]"), ("vars.a.x", "\"1\""), ("vars.b", "null")];
    assert!(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
    assert_eq!(from_query(expected), Ok(Some(vars)));
    assert_eq!(from_query([("limit", "3"), ("varsity", "x")]), Ok(None));
    assert_eq!(
        from_query([("vars.a", "2"), ("vars", r#"{"a":1,"b":3}"#), ("vars.a", "9")]),
        Ok(Some(object(json!({"a": 2, "b": 3}))))
    );
    assert!(from_query([("vars.a", "x")]).unwrap_err().to_string().contains("not JSON"));
    assert!(from_query([("vars.", "1")]).is_err());
}

proptest! {
    #[test]
    fn vars_survive_text_and_query(
        leaves in prop::collection::btree_map("[a-z ./,:]{0,3}[a-z]", prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-zA-Z0-9 ,:/.-]{0,8}".prop_map(Value::from),
            prop::collection::vec("[a-z,]{0,3}", 0..3).prop_map(Value::from),
        ], 1..5),
    ) {
        // Strings that JSON escapes, or with unbalanced brackets, do not survive their bare form; names are no such strings.
        // The white space around a key's segment is not kept.
        let vars: Object =
            leaves.into_iter().map(|(key, value)| (key.trim().to_owned(), value)).collect();
        prop_assert_eq!(parse_text(&to_text(&vars)), Ok(vars.clone()));
        let pairs = to_query(&vars);
        let read = from_query(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        prop_assert_eq!(read, Ok(Some(vars)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}|[a-z:,.\"'{}\\[\\] ]{0,40}") {
        let _ = parse_text(&text);
    }
}
