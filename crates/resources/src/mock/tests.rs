#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn privilege_needs_the_real_root_and_its_capabilities() {
    let all = "Name:\tx\nCapEff:\t000001ffffffffff\n";
    let few = "Name:\tx\nCapEff:\t00000000a80425fb\n";
    assert!(privileged("         0          0 4294967295\n", all));
    assert!(!privileged("         0          0 4294967295\n", few));
    assert!(!privileged("         0     100000      65536\n", all));
    assert!(!privileged("", all));
}

#[test]
fn files_stay_below_the_destination() {
    let dest = Path::new("/get");
    assert_eq!(contained(dest, "a/b").unwrap(), Path::new("/get/a/b"));
    assert_eq!(contained(dest, "/a").unwrap(), Path::new("/get/a"));
    for name in ["../a", "a/../../b", "", ".", "/"] {
        assert!(contained(dest, name).is_err(), "{name:?}");
    }
}

#[test]
fn file_content_is_text_or_json_with_late_variables() {
    assert_eq!(file_content(&json!("a START_VAR.:xEND_VAR b")), "a ((.:x)) b");
    assert_eq!(file_content(&json!({"a": [1, "START_VARbEND_VAR"]})), r#"{"a":[1,"((b))"]}"#);
}
