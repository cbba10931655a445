#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn subordinate_ids_are_found_by_name_or_number() {
    let text = "other:100000:65536\nme:200000:1000\n1001:300000:5\nbroken\n";
    assert_eq!(subordinate(text, Some("me"), 1000), Some((200_000, 1000)));
    assert_eq!(subordinate(text, None, 1001), Some((300_000, 5)));
    assert_eq!(subordinate(text, Some("you"), 1002), None);
}

#[test]
fn refusals_name_the_setting() {
    assert!(explain_refusal(Some("0"), None, None).contains("user.max_user_namespaces"));
    assert!(explain_refusal(Some("9"), Some("0"), None).contains("unprivileged_userns_clone"));
    let apparmor = explain_refusal(Some("9"), Some("1"), Some("1"));
    assert!(apparmor.contains("apparmor_restrict_unprivileged_userns=0"));
    assert!(explain_refusal(Some("9"), None, Some("0")).contains("as root"));
}
