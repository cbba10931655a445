use serde_json::json;

use super::{error, json};

#[test]
fn aliases_are_copies() {
    assert_eq!(
        json("a: &x {k: [1]}\nb: *x\nc: [*x, *x]"),
        json!({"a": {"k": [1]}, "b": {"k": [1]}, "c": [{"k": [1]}, {"k": [1]}]})
    );
    assert_eq!(json("- &a one\n- &a two\n- *a"), json!(["one", "two", "two"]));
    assert_eq!(json("&k key: 1\nother: *k"), json!({"key": 1, "other": "key"}));
    assert!(error("a: *nowhere").contains("line 1"));
    assert!(error("a: &x [*x]").contains("its own anchor"));
}

#[test]
fn a_merge_counts_where_it_stands() {
    let base = "base: &b {x: 1, v: 2}\n";
    let merged = |text: &str| json(&format!("{base}m: {text}"))["m"].clone();
    assert_eq!(merged("{<<: *b, v: 3}"), json!({"x": 1, "v": 3}));
    assert_eq!(merged("{v: 3, <<: *b}"), json!({"x": 1, "v": 2}));
    assert_eq!(merged("{<<: {z: 1}}"), json!({"z": 1}));
    assert_eq!(merged("{<<: [{x: 5}, *b], z: 0}"), json!({"x": 5, "v": 2, "z": 0}));
    assert_eq!(merged("{\"<<\": *b}"), json!({"<<": {"x": 1, "v": 2}}));
}

#[test]
fn bad_merges() {
    assert!(error("{<<: 1}").contains("not a number"));
    assert!(error("{<<: [1]}").contains("not a number"));
    assert!(error("{<<: {a: 1}, <<: {b: 1}}").contains("key '<<' is already given"));
    assert!(error("a: 1\n<<: {b: 1}\na: 2").contains("line 3, column 1"));
}
