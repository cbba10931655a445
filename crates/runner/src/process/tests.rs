#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::spawn::{candidates, environment};
use crate::user::Identity;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_environment_is_completed_but_never_changed() {
    let identity = Identity {
        uid: 5,
        gid: 5,
        groups: Vec::new(),
        home: "/home/git".to_owned(),
        name: "git".to_owned(),
    };
    let given = pairs(&[("HOME", "/elsewhere"), ("A", "1"), ("A", "2")]);
    let complete = environment(&given, &identity);
    assert_eq!(complete[..3], given);
    assert_eq!(complete[3].0, "PATH");
    assert_eq!(complete[4..], pairs(&[("USER", "git")]));
}

#[test]
fn programs_are_searched_only_without_a_slash() {
    let path = pairs(&[("PATH", "/a::/b")]);
    assert_eq!(candidates("sh", &path), ["/a/sh", "./sh", "/b/sh"]);
    assert_eq!(candidates("./sh", &path), ["./sh"]);
    assert_eq!(candidates("dir/sh", &path), ["dir/sh"]);
    assert!(candidates("sh", &[]).contains(&"/bin/sh".to_owned()));
}
