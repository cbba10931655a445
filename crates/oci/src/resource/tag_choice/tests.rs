#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::resource::version::Constraint;

/// `tag=digest` pairs in, the same out.
fn versions(rule: &SemverRule, tags: &[&str]) -> Vec<String> {
    let found: Vec<_> = tags
        .iter()
        .filter_map(|pair| {
            let (tag, digest) = pair.split_once('=').unwrap();
            Some((rule.candidate(tag)?, digest.to_owned()))
        })
        .collect();
    rule.versions(&found)
        .into_iter()
        .map(|found| format!("{}={}", found.tag, found.digest))
        .collect()
}

#[test]
fn each_image_appears_once_in_order_under_its_fullest_version() {
    let rule = SemverRule::default();
    let tags = [
        "latest=c",
        "1.10.0=c",
        "1.2=b",
        "1.2.0=b",
        "1=c",
        "1.1.9=a",
        "edge=x",
        "2.0.0-rc.1=d",
        "1.2.0-alpine=e",
    ];
    assert_eq!(versions(&rule, &tags), ["1.1.9=a", "1.2.0=b", "1.10.0=c"]);
    assert_eq!(versions(&rule, &["latest=z", "1.0.0=a"]), ["1.0.0=a", "latest=z"]);
    assert_eq!(versions(&rule, &["latest=z"]), ["latest=z"]);
}

#[test]
fn variants_are_kept_apart() {
    let rule = SemverRule { variant: Some("alpine".into()), ..SemverRule::default() };
    let tags =
        ["alpine=z", "1.0.0-alpine=a", "1.0.0=b", "1.1.0-php-alpine=c", "latest=d", "1.0-alpine=a"];
    assert_eq!(versions(&rule, &tags), ["1.0.0-alpine=a", "alpine=z"]);
}

#[test]
fn pre_releases_count_when_asked_for() {
    let tags = [
        "1.0.0-alpha.1=a",
        "1.0.0-rc=b",
        "1.0.0-rc.2=b",
        "1.0.0-slim=c",
        "1.0.0-rc.3-slim=d",
        "1.0.0=e",
        "1.0.0-rc.4=e",
        "1.0.0-build.1=f",
    ];
    let rule = SemverRule { pre_releases: true, ..SemverRule::default() };
    assert_eq!(versions(&rule, &tags), ["1.0.0-alpha.1=a", "1.0.0-rc.2=b", "1.0.0=e"]);
    let rule = SemverRule { pre_release_prefixes: vec!["build".into()], ..rule };
    assert!(versions(&rule, &tags).contains(&"1.0.0-build.1=f".to_owned()));
}

#[test]
fn a_constraint_leaves_out_the_rest_and_latest() {
    let rule = SemverRule {
        constraint: Some(Constraint::parse("~1.2").unwrap()),
        ..SemverRule::default()
    };
    assert_eq!(versions(&rule, &["latest=z", "1.2.3=a", "1.3.0=b", "1.1.0=c"]), ["1.2.3=a"]);
}

#[test]
fn aliases_move_only_forward() {
    let aliases = |version: &str, variant: Option<&str>, existing: &[&str]| {
        let existing: Vec<String> = existing.iter().map(|tag| (*tag).to_owned()).collect();
        super::aliases(&TagVersion::parse(version).unwrap(), variant, &existing)
    };
    assert_eq!(aliases("1.2.3", None, &[]), ["latest", "1", "1.2"]);
    assert_eq!(
        aliases("1.2.3", None, &["1.2.2", "2.0.0-rc.1", "9.0.0-alpine", "edge"]),
        ["latest", "1", "1.2"]
    );
    assert_eq!(aliases("1.2.3", None, &["2.0.0"]), ["1", "1.2"]);
    assert_eq!(aliases("1.2.3", None, &["1.3.0"]), ["1.2"]);
    assert_eq!(aliases("1.2.3", None, &["1.2.4"]), Vec::<String>::new());
    assert_eq!(
        aliases("1.2.3", Some("slim"), &["2.0.0", "1.2.2-slim"]),
        ["slim", "1-slim", "1.2-slim"]
    );
}
