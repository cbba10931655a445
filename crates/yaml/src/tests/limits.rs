use std::fmt::Write as _;

use crate::{ErrorKind, Limits, parse, parse_with};

fn small() -> Limits {
    Limits { max_bytes: 1000, max_depth: 5, max_nodes: 50, max_text_bytes: 100 }
}

#[test]
fn laughs_stop_early() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = level - 1;
        let uses = vec![format!("*a{before}"); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{uses}]").unwrap();
    }
    let error = parse(&text).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::TooManyNodes { .. }), "{error}");
    assert!(error.span.line <= 7, "{error}");
}

#[test]
fn each_bound_is_told() {
    let kind = |text: &str| parse_with(text, small()).unwrap_err().kind;
    assert_eq!(kind(&"#".repeat(1001)), ErrorKind::TooLong { max: 1000 });
    assert_eq!(kind("[[[[[[1]]]]]]"), ErrorKind::TooDeep { max: 5 });
    assert_eq!(kind("[&a [[[1]]], [[*a]]]"), ErrorKind::TooDeep { max: 5 });
    assert_eq!(
        kind(&format!("[{}]", vec!["1"; 60].join(","))),
        ErrorKind::TooManyNodes { max: 50 }
    );
    assert_eq!(kind(&format!("[&a {}, *a]", "x".repeat(60))), ErrorKind::TooMuchText { max: 100 });
    assert!(parse_with("[[[[[1]]]]]", small()).is_ok());
}

#[test]
fn json_that_yaml_refuses_is_bounded_too() {
    let text = r#"[[[[[["\ud83d\ude00"]]]]]]"#;
    let error = parse_with(text, small()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooDeep { max: 5 });
}
