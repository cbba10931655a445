use super::*;

#[test]
fn names_follow_the_rules_of_git() {
    for name in ["main", "feature/one", "v1.0", "a-b", "ümlaut", "a@b", "refs/pull/1/head"] {
        assert!(is_valid(name), "{name:?}");
    }
    for name in [
        "",
        "@",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a b",
        "a\nb",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a.",
        "a/",
        "/a",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a@{1}",
    ] {
        assert!(!is_valid(name), "{name:?}");
    }
}

#[test]
fn addresses_cannot_be_options_or_commands() {
    for uri in [
        "https://host/x.git",
        "git@host:x.git",
        "ssh://git@[::1]:22/x",
        "/srv/x",
        "../x",
        "file:///srv/x",
    ] {
        assert!(validate_uri("source.uri", uri).is_ok(), "{uri:?}");
    }
    for uri in ["--upload-pack=touch x", "ext::sh -c x", "fd::17", "a\nb"] {
        assert!(validate_uri("source.uri", uri).is_err(), "{uri:?}");
    }
}
