#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::Glob;

const NAMES: [&str; 16] =
    ["a", "b", "c", "d", "e", "]", "-", "{a", "a}", "a,b", "[a", "ab", "axb", "^", "!", "x/y"];

fn matching(glob: Option<Glob>) -> Option<Vec<&'static str>> {
    let glob = glob?;
    Some(NAMES.into_iter().filter(|name| glob.matches(name)).collect())
}

#[test]
fn patterns_of_groups() {
    for (pattern, expected) in [
        ("{a", Some(vec!["a"])),
        ("{a,b", Some(vec!["a", "b"])),
        ("a}", Some(vec!["a}"])),
        ("a,b", Some(vec!["a,b"])),
        ("{a,{b,c}}", Some(vec!["a", "b", "c"])),
        ("{a*,b?}", Some(vec!["a", "a}", "a,b", "ab", "axb"])),
        ("[ab-d]", Some(vec!["a", "b", "d", "-"])),
        ("[a-c]", Some(vec!["a", "b", "c"])),
        ("[!a-e]", Some(vec!["]", "-", "^", "!"])),
        ("[^a]", Some(vec!["a", "^"])),
        ("[a\\]]", Some(vec!["a", "]"])),
        ("{[ab],c}", Some(vec!["a", "b", "c"])),
        ("x*y", Some(vec!["x/y"])),
        ("a**b", Some(vec!["a,b", "ab", "axb"])),
        ("\\[a", Some(vec!["[a"])),
        ("a?b", Some(vec!["a,b", "axb"])),
        ("[a", None),
        ("[]", None),
        ("[a-", None),
        ("[b-a]", None),
    ] {
        assert_eq!(matching(Glob::group(pattern)), expected, "{pattern}");
    }
}

#[test]
fn patterns_of_passed() {
    for (pattern, expected) in [
        ("a", Some(vec!["a"])),
        ("{a", Some(vec!["{a"])),
        ("{a,b}", Some(vec![])),
        ("[ab-d]", Some(vec!["a", "b", "c", "d"])),
        ("[^a-e]", Some(vec!["]", "-", "^", "!"])),
        ("[!a]", Some(vec!["a", "!"])),
        ("[a\\]]", Some(vec!["a", "]"])),
        ("a*b", Some(vec!["a,b", "ab", "axb"])),
        ("x*", Some(vec![])),
        ("x/*", Some(vec!["x/y"])),
        ("x?y", Some(vec![])),
        ("\\[a", Some(vec!["[a"])),
        ("[a", None),
        ("[]", None),
        ("[]a]", None),
        ("[-a]", None),
        ("[a-]", None),
        ("[b-a]", None),
        ("\\", None),
    ] {
        assert_eq!(matching(Glob::passed(pattern)), expected, "{pattern}");
    }
}

#[test]
fn letters_of_any_script() {
    assert!(Glob::group("ü?*").unwrap().matches("üéb"));
    assert!(Glob::passed("[α-ω]*").unwrap().matches("λx"));
}
