use proptest::prelude::*;
use serde_json::Value;

use crate::{Node, Span, parse};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|n| Value::from(f64::from(n) + 0.5)),
        "\\PC{0,12}".prop_map(Value::from),
        "[ -~\n\t]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z<&*]{1,4}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Pieces that meet the scanner's and the builder's corners more often than random letters do.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        ": ",
        ":",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&x ",
        "*x",
        "<<",
        "<<: ",
        "? ",
        "|",
        ">",
        "\"",
        "'",
        "#",
        "!!str ",
        "!t ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "0x",
        "1_0",
        ".5",
        "\t",
        " ",
        "\u{feff}",
        "é",
        "\\",
        "((",
        "))",
        "~",
        "@",
        "`",
        "\r\n",
        "\0",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_text_is_a_tree_or_an_error(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_yaml_like_text_is_a_tree_or_an_error(text in yaml_like()) {
        if let Ok(node) = parse(&text) {
            let _ = node.to_json();
        }
    }

    #[test]
    fn json_survives(value in any_json()) {
        let node = parse(&value.to_string()).unwrap();
        prop_assert_eq!(&node.to_json(), &value);
        prop_assert_eq!(Node::from_json(&value, Span::default()).to_json(), value);
    }
}
