#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn a_pattern_must_mean_one_path() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a/image.tar", "a/other.tar", "b/image.tar"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let found = |pattern: &str| one_match(dir.path(), pattern).map_err(|error| error.to_string());
    assert_eq!(found("a/image.tar"), Ok(dir.path().join("a/image.tar")));
    assert_eq!(found("./a/im*e.t?r"), Ok(dir.path().join("a/image.tar")));
    assert_eq!(found("*/other*"), Ok(dir.path().join("a/other.tar")));
    assert!(found("*/image.tar").unwrap_err().contains("2 files match"));
    assert!(found("c/*").unwrap_err().contains("no file matches"));
    assert!(found("a/nosuch").unwrap_err().contains("no file matches"));
}

#[test]
fn versions_must_be_semantic() {
    assert_eq!(semantic("v1.2.3\n").unwrap().version.to_string(), "1.2.3");
    assert!(semantic("latest").is_err());
}
