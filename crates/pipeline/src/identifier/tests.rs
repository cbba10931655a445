#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{IdentifierProblem, check_identifier};

fn check(name: &str, context: &[&str]) -> Option<String> {
    let context: Vec<String> = context.iter().map(|&part| part.to_owned()).collect();
    check_identifier(name, &context).map(|problem| match problem {
        IdentifierProblem::Empty(message) => format!("error {message}"),
        IdentifierProblem::Invalid(message) => format!("warning {message}"),
    })
}

#[test]
fn names() {
    for name in ["a", "1a", "a.b-c_d", "ünï", "日本", "ªx", "9-9"] {
        assert_eq!(check(name, &["pipeline"]), None, "{name}");
    }
    for (name, reason) in [
        ("A", "must start with a lowercase letter or a number"),
        ("-a", "must start with a lowercase letter or a number"),
        ("٣", "must start with a lowercase letter or a number"),
        ("12", "cannot be just numbers"),
        ("aB", "illegal character 'B'"),
        ("a b", "illegal character ' '"),
        ("a/b", "illegal character '/'"),
        ("((a))", "must start with a lowercase letter or a number"),
    ] {
        let message = format!("warning pipeline: '{name}' is not a valid identifier: {reason}");
        assert_eq!(check(name, &["pipeline"]), Some(message));
    }
    assert_eq!(
        check("", &["pipeline"]).unwrap(),
        "error pipeline: identifier cannot be an empty string"
    );
}

#[test]
fn vars_in_names_right_inside_across() {
    assert_eq!(check("((.:x))", &["jobs.a", ".across", ".task(((.:x)))"]), None);
    assert_eq!(check("((.:x))", &[".across", ".set_pipeline(((.:x)))"]), None);
    assert!(check("((.:x))", &[".across", ".get(((.:x)))"]).is_some());
    assert!(check("((.:x))", &[".across", ".do", ".task(((.:x)))"]).is_some());
}
