#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn tags_are_read_loosely() {
    let parsed = |text: &str| TagVersion::parse(text).map(|version| version.version.to_string());
    assert_eq!(parsed("1").as_deref(), Some("1.0.0"));
    assert_eq!(parsed("v1.2").as_deref(), Some("1.2.0"));
    assert_eq!(parsed("1.2.3-rc.1+b5").as_deref(), Some("1.2.3-rc.1+b5"));
    assert_eq!(parsed("1-alpine").as_deref(), Some("1.0.0-alpine"));
    for text in
        ["", "latest", "1.", "1.2.3.4", "01.2", "1.2-", "1.2+", "v", "1.x", "20a", "1.2.3-a_b"]
    {
        assert_eq!(parsed(text), None, "{text:?}");
    }
}

/// Versions from a fixed list that a constraint allows.
fn allowed(constraint: &str) -> Vec<&'static str> {
    let all = [
        "0.0.3",
        "0.2.1",
        "0.3.0",
        "1.0.0",
        "1.2.0",
        "1.2.9",
        "1.3.0",
        "2.0.0",
        "4.2.3",
        "2.0.0-rc.1",
    ];
    let constraint = Constraint::parse(constraint).unwrap();
    all.into_iter()
        .filter(|text| constraint.allows(&TagVersion::parse(text).unwrap().version))
        .collect()
}

#[test]
fn constraints_choose_versions() {
    assert_eq!(allowed("1.2.0"), ["1.2.0"]);
    assert_eq!(allowed("1.2"), ["1.2.0", "1.2.9"]);
    assert_eq!(allowed("1.2.x"), ["1.2.0", "1.2.9"]);
    assert_eq!(allowed("~1.2.x"), ["1.2.0", "1.2.9"]);
    assert_eq!(allowed("~1.2.5"), ["1.2.9"]);
    assert_eq!(allowed("~1"), ["1.0.0", "1.2.0", "1.2.9", "1.3.0"]);
    assert_eq!(allowed("^1.2"), ["1.2.0", "1.2.9", "1.3.0"]);
    assert_eq!(allowed("^0.2.0"), ["0.2.1"]);
    assert_eq!(allowed("^0.0.3"), ["0.0.3"]);
    assert_eq!(allowed(">= 1.2 < 2.0.0 || >= 4.2.3"), ["1.2.0", "1.2.9", "1.3.0", "4.2.3"]);
    assert_eq!(allowed(">=1.2,<1.3"), ["1.2.0", "1.2.9"]);
    assert_eq!(allowed("> 1.2"), ["1.3.0", "2.0.0", "4.2.3"]);
    assert_eq!(allowed("<= 1.2"), ["0.0.3", "0.2.1", "0.3.0", "1.0.0", "1.2.0", "1.2.9"]);
    assert_eq!(allowed("1.2 - 1.3"), ["1.2.0", "1.2.9", "1.3.0"]);
    assert_eq!(allowed("!=1.2.x, >1.0.0, <2"), ["1.3.0"]);
    assert_eq!(allowed(">=2.0.0-0 <3"), Vec::<&str>::from(["2.0.0"]));
    assert_eq!(allowed(">=2.0.0-0"), ["2.0.0", "4.2.3", "2.0.0-rc.1"]);
    assert_eq!(allowed("*").len(), 9);
}

#[test]
fn what_is_no_constraint_is_refused() {
    for text in ["", "||", "1 ||", ">>1", "abc", ">= ", "1.2.3.4", "!1"] {
        assert!(Constraint::parse(text).is_err(), "{text:?}");
    }
}
