#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::{Object, Value};
use jb_yaml::{Node, Span};
use proptest::prelude::*;
use serde_json::json;

use super::{
    InterpolateError, Missing, Piece, VarRef, interpolate, interpolate_node, lookup_in, scan_text,
    var_refs,
};

fn vars() -> Object {
    json!({
        "s": "text", "i": 7, "f": 1.5, "b": true, "n": null, "l": [1, "((s))"], "m": {"k": {"deep": "d"}, "x.y": 1},
        "again": "((s))",
    })
    .as_object()
    .unwrap()
    .clone()
}

fn fill(value: &Value, missing: Missing) -> Result<Value, String> {
    let vars = vars();
    let lookup = |reference: &VarRef| lookup_in(&vars, reference);
    let result = interpolate(value, missing, lookup).map_err(|error| error.to_string());
    // The walk over trees with positions is the same walk.
    let node = Node::from_json(value, Span { line: 3, column: 4 });
    let lookup = |reference: &VarRef| lookup_in(&vars, reference);
    let by_node = interpolate_node(&node, missing, lookup);
    assert_eq!(by_node.map(|node| node.to_json()).map_err(|error| error.to_string()), result);
    result
}

#[test]
fn references() {
    let reference = |source: &str, path: &str, fields: &[&str]| VarRef {
        source: source.to_owned(),
        path: path.to_owned(),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
    };
    for (text, expected, printed) in [
        ("a", reference("", "a", &[]), "a"),
        ("a.b", reference("", "a", &["b"]), "a.b"),
        ("s:a.b", reference("s", "a", &["b"]), "s:a.b"),
        (".:a", reference(".", "a", &[]), ".:a"),
        ("a.\"b.c\"", reference("", "a", &["b.c"]), "a.\"b.c\""),
        ("\"a:b\".c", reference("", "a:b", &["c"]), "\"a:b\".c"),
        ("a:b:c", reference("a", "b:c", &[]), "a:\"b:c\""),
        ("a: b", reference("a", "b", &[]), "a:b"),
        ("s:\"a b\"", reference("s", "a b", &[]), "s:\"a b\""),
    ] {
        assert_eq!(VarRef::parse(text), Ok(expected), "{text}");
        assert_eq!(VarRef::parse(text).unwrap().to_string(), printed);
    }
    for (text, reason) in [
        ("s:", "empty field"),
        ("", "empty field"),
        ("a.", "empty field"),
        ("a..b", "empty field"),
        ("\"s\":a", "source must not be quoted"),
    ] {
        let message = format!("invalid var '{text}': {reason}");
        assert_eq!(VarRef::parse(text).unwrap_err().to_string(), message);
    }
    assert!(VarRef::parse(".:a").unwrap().is_local());
}

#[test]
fn where_references_stand() {
    use Piece::{Text, Var};
    for (text, pieces) in [
        ("", vec![]),
        ("plain", vec![Text("plain")]),
        ("((a))", vec![Var("a")]),
        ("x((a))y((b))", vec![Text("x"), Var("a"), Text("y"), Var("b")]),
        ("(((a)))", vec![Text("("), Var("a"), Text(")")]),
        ("((a b))", vec![Text("((a b))")]),
        ("(())", vec![Text("(())")]),
        ("((a", vec![Text("((a")]),
        ("((a((b))", vec![Text("((a"), Var("b")]),
        ("((s:é.\"x\"@1/-_))", vec![Var("s:é.\"x\"@1/-_")]),
    ] {
        assert_eq!(scan_text(text), pieces, "{text}");
    }
}

#[test]
fn a_whole_reference_keeps_the_type() {
    let value =
        json!(["((s))", "((i))", "((f))", "((b))", "((n))", "((l))", "((m.k))", "((m.\"x.y\"))"]);
    assert_eq!(
        fill(&value, Missing::Fail),
        Ok(json!(["text", 7, 1.5, true, null, [1, "((s))"], {"deep": "d"}, 1]))
    );
}

#[test]
fn inside_text_only_strings_and_numbers() {
    assert_eq!(fill(&json!("a((s))-((i))((f))"), Missing::Fail), Ok(json!("atext-71.5")));
    for (text, kind, name) in
        [("x((b))", "boolean", "b"), ("((l)) ", "list", "l"), ("((n))y", "null", "n")]
    {
        assert_eq!(
            fill(&json!(text), Missing::Fail),
            Err(format!("cannot interpolate non-primitive value ({kind}) from var: {name}"))
        );
    }
}

#[test]
fn inserted_text_is_not_looked_at_again() {
    assert_eq!(fill(&json!("((again)) ((s))"), Missing::Fail), Ok(json!("((s)) text")));
}

#[test]
fn keys_are_interpolated() {
    assert_eq!(
        fill(&json!({"((s))": 1, "k-((i))": 2, "((i))": 3, "((b))": 4}), Missing::Fail),
        Ok(json!({"text": 1, "k-7": 2, "7": 3, "true": 4}))
    );
    assert_eq!(
        fill(&json!({"((l))": 1}), Missing::Fail),
        Err("cannot use a value (list) as the map key '((l))'".to_owned())
    );
}

#[test]
fn missing_vars() {
    let value = json!({"a": "((z.field)) ((s))", "b": ["((x:y))", "((z.field))"], "((q))": 1});
    assert_eq!(fill(&value, Missing::Fail), Err("undefined vars: q, x:y, z.field".to_owned()));
    assert_eq!(
        fill(&value, Missing::Keep),
        Ok(json!({"a": "((z.field)) text", "b": ["((x:y))", "((z.field))"], "((q))": 1}))
    );
}

#[test]
fn missing_fields_and_bad_references() {
    for (text, message) in [
        ("((m.no))", "missing field 'no' in var: m.no"),
        ("((s.x))", "cannot access field 'x' of non-map value ('string') from var: s.x"),
        ("((m..k))", "invalid var 'm..k': empty field"),
    ] {
        assert_eq!(fill(&json!(text), Missing::Keep), Err(message.to_owned()));
    }
}

#[test]
fn a_long_value_used_often_is_refused() {
    let long = Value::from("x".repeat(1 << 20));
    let value = Value::from(vec!["((v))"; 100]);
    let result = interpolate(&value, Missing::Fail, |_| Ok::<_, ()>(Some(long.clone())));
    assert_eq!(result.unwrap_err(), InterpolateError::TooLarge);
}

#[test]
fn all_references_of_a_value() {
    let value = json!({"a((b))": ["((c.d)) ((a:b))", {"x": "((b))"}], "((bad..one))": 1});
    let names: Vec<String> = var_refs(&value).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["b", "c.d", "a:b"]);
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop::collection::vec(
        prop_oneof![
            "[a-z()\\. ]{0,4}".boxed(),
            prop::sample::select(vec!["((s))", "((i))", "((zz))", "((v:w.x))", "((", "))"])
                .prop_map(str::to_owned)
                .boxed(),
        ],
        0..4,
    )
    .prop_map(|parts| parts.concat());
    let leaf = prop_oneof![
        text.clone().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn without_values_nothing_changes(value in any_value()) {
        let kept = interpolate(&value, Missing::Keep, |_| Ok::<_, ()>(None));
        // `((.))` is refused, values or not.
        prop_assert!(kept == Ok(value) || matches!(kept, Err(InterpolateError::Invalid(_))), "{kept:?}");
    }

    #[test]
    fn what_is_listed_is_what_is_looked_up(value in any_value()) {
        let mut asked = std::collections::BTreeSet::new();
        let kept = interpolate(&value, Missing::Keep, |reference| {
            asked.insert(reference.clone());
            Ok::<_, ()>(None)
        });
        let listed = var_refs(&value);
        if kept.is_ok() {
            prop_assert_eq!(asked.into_iter().collect::<Vec<_>>(), listed);
        } else {
            // What comes after a name that is none is not looked up.
            prop_assert!(asked.iter().all(|reference| listed.contains(reference)), "{asked:?}");
        }
    }

    #[test]
    fn a_filled_value_has_no_reference_left(value in any_value()) {
        let filled = interpolate(&value, Missing::Fail, |_| Ok::<_, ()>(Some(Value::from("v"))));
        if let Ok(filled) = filled {
            // Inserted text may make something that looks like a reference: it is not looked at again.
            let again = interpolate(&filled, Missing::Keep, |_| Ok::<_, ()>(None));
            prop_assert!(again == Ok(filled) || matches!(again, Err(InterpolateError::Invalid(_))), "{again:?}");
        }
    }

    #[test]
    fn pieces_are_the_text(text in "[a-z()\\. :\"]{0,30}") {
        let joined: String = scan_text(&text).into_iter().map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Var(name) => format!("(({name}))"),
        }).collect();
        prop_assert_eq!(joined, text);
    }
}
