use serde_json::json;

use super::{error, json};

#[test]
fn booleans_of_yaml_1_1() {
    for text in ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"] {
        assert_eq!(json(text), json!(true), "{text}");
    }
    for text in ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"] {
        assert_eq!(json(text), json!(false), "{text}");
    }
    assert_eq!(json("yEs"), json!("yEs"));
}

#[test]
fn integers_in_every_base() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("0644", 420),
        ("0o644", 420),
        ("-010", -8),
        ("0x1F", 31),
        ("0b101", 5),
        ("-0b11", -3),
        ("1_000", 1000),
        ("+7", 7),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(json(text), json!(value), "{text}");
    }
    assert_eq!(json("18446744073709551615"), json!(u64::MAX));
    assert_eq!(json("18446744073709551616"), json!(18_446_744_073_709_551_616_f64));
}

#[test]
fn floats_and_what_only_looks_like_one() {
    for (text, value) in [
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1.", json!(1)),
        ("1.0", json!(1)),
        ("12e03", json!(12_000)),
        ("1e-2", json!(0.01)),
        ("-1.25E+1", json!(-12.5)),
        ("08", json!(8)),
        ("1e400", json!("1e400")),
        ("1.2.3", json!("1.2.3")),
        ("1e", json!("1e")),
        ("0x", json!("0x")),
        ("--1", json!("--1")),
        ("+", json!("+")),
        (".", json!(".")),
        ("1-2", json!("1-2")),
        ("190:20:30", json!("190:20:30")),
        ("_1", json!("_1")),
    ] {
        assert_eq!(json(text), value, "{text}");
    }
    assert!(error("a: .nan").contains("line 1, column 4"));
    assert!(error("[-.inf]").contains("not a finite number"));
}

#[test]
fn nulls_and_texts() {
    for text in ["", "~", "null", "Null", "NULL", "# only a comment\n"] {
        assert_eq!(json(text), json!(null), "{text:?}");
    }
    assert_eq!(json("a:\nb: ~"), json!({"a": null, "b": null}));
    for (text, value) in [
        ("'yes'", "yes"),
        ("\"0644\"", "0644"),
        ("\"null\"", "null"),
        ("2001-12-14", "2001-12-14"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("\"\"", ""),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
        ("=", "="),
    ] {
        assert_eq!(json(text), json!(value), "{text:?}");
    }
}

#[test]
fn tags() {
    assert_eq!(json("!!str 12"), json!("12"));
    assert_eq!(json("!!int '12'"), json!(12));
    assert_eq!(json("!!bool \"yes\""), json!(true));
    assert_eq!(json("!custom 12"), json!("12"));
    assert_eq!(json("!custom {a: 1}"), json!({"a": 1}));
    assert!(error("!!int abc").contains("cannot read 'abc' as !!int"));
    assert!(error("!!binary aGk=").contains("!!binary"));
}

#[test]
fn keys_become_text() {
    assert_eq!(
        json("{1: a, yes: b, 1.5: c, 0x10: d, 2001-01-01: e}"),
        json!({"1": "a", "true": "b", "1.5": "c", "16": "d", "2001-01-01": "e"})
    );
    assert_eq!(json("{n: made}"), json!({"false": "made"}));
    assert!(error("~: a").contains("not null"));
    assert!(error("? [a]\n: b").contains("not a list"));
}

#[test]
fn duplicate_keys_name_both_places() {
    assert_eq!(
        error("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n"),
        "line 5, column 3: key 'c' is already given at line 3, column 3"
    );
    assert!(error("{yes: 1, true: 2}").contains("key 'true'"));
}

#[test]
fn json_is_read() {
    let text = r#"{"a":[1,2.5,"x\u00e9\/",null,true,{}],"b":{"c":"y"}}"#;
    assert_eq!(json(text), json!({"a": [1, 2.5, "xé/", null, true, {}], "b": {"c": "y"}}));
    assert_eq!(json(r#"{"smile":"\ud83d\ude00"}"#), json!({"smile": "😀"}));
    assert_eq!(json("{\n\t\"a\": 1,\n\t\"b\":[\n\t]\n}"), json!({"a": 1, "b": []}));
}

#[test]
fn vars_of_pipelines_are_plain_text() {
    assert_eq!(
        json("args: [((.:x)), ((vs:a.\"b.c\")), -c]\nz: ((y))"),
        json!({"args": ["((.:x))", "((vs:a.\"b.c\"))", "-c"], "z": "((y))"})
    );
}
