#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn names_have_a_registry_a_repository_and_a_version() {
    let parsed = |text: &str| Reference::parse(text).unwrap().to_string();
    assert_eq!(parsed("busybox"), "docker.io/library/busybox");
    assert_eq!(parsed("concourse/git-resource:1.2"), "docker.io/concourse/git-resource:1.2");
    assert_eq!(parsed("localhost/a/b"), "localhost/a/b");
    assert_eq!(parsed("127.0.0.1:5000/a"), "127.0.0.1:5000/a");
    assert_eq!(parsed("[::1]:5000/a:x"), "[::1]:5000/a:x");
    assert_eq!(parsed("index.docker.io/library/a"), "docker.io/library/a");
    let digest = Digest::of(b"");
    let both = Reference::parse(&format!("ghcr.io/a/b_c/d-e:v1.0_x@{digest}")).unwrap();
    assert_eq!((both.tag.as_deref(), both.identifier()), (Some("v1.0_x"), digest.as_str()));
    assert_eq!(Reference::parse("a").unwrap().identifier(), "latest");
}

#[test]
fn what_is_no_name_is_refused() {
    for text in [
        "",
        "A",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:b:c",
        "a@sha256:x",
        "a:-x",
        "ghcr.io/../x",
        "ghcr.io/a/..",
        "a b",
        "host:port/a",
        "ghcr.io/a?x=y",
        "ghcr.io/-a",
        "user@ghcr.io/a",
        "a..b",
    ] {
        assert!(Reference::parse(text).is_err(), "{text:?}");
    }
    assert!(Reference::parse(&format!("a:{}", "x".repeat(129))).is_err());
}
