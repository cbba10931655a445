use super::error;
use crate::{Node, Span, parse};

fn at<'a>(node: &'a Node, path: &[&str]) -> &'a Node {
    path.iter().fold(node, |node, step| match step.parse::<usize>() {
        Ok(index) => &node.as_list().unwrap()[index],
        Err(_) => node.get(step).unwrap(),
    })
}

#[test]
fn every_value_knows_its_place() {
    let node = parse("# c\njobs:\n- name: é\n  plan: [{get: a}, \"x\"]\n").unwrap();
    for (path, line, column) in [
        (&[][..], 2, 1),
        (&["jobs"], 3, 3),
        (&["jobs", "0"], 3, 3),
        (&["jobs", "0", "name"], 3, 9),
        (&["jobs", "0", "plan"], 4, 9),
        (&["jobs", "0", "plan", "0", "get"], 4, 16),
        (&["jobs", "0", "plan", "1"], 4, 20),
    ] {
        assert_eq!(at(&node, path).span, Span { line, column }, "{path:?}");
    }
    assert_eq!(node.as_map().unwrap()[0].key_span, Span { line: 2, column: 1 });
}

#[test]
fn an_alias_points_at_its_anchor() {
    let node = parse("a: &x {k: 1}\nb: *x").unwrap();
    assert_eq!(at(&node, &["b", "k"]).span, Span { line: 1, column: 11 });
}

#[test]
fn syntax_errors_have_a_place() {
    assert!(error("a: [1, 2").starts_with("line 2, column 1: "), "{}", error("a: [1, 2"));
    assert!(error("a: b: c").starts_with("line 1, column"));
    assert!(error("a: 1\n b: 2").starts_with("line 2, column"));
}

#[test]
fn one_document_only() {
    assert!(error("a: 1\n---\nb: 2").starts_with("line 2, column 1: a second document"));
    assert!(parse("---\na: 1\n...\n").is_ok());
    assert!(parse("%YAML 1.1\n---\na: 1\n").is_ok());
    assert!(parse("\u{feff}a: 1\n").is_ok());
}
