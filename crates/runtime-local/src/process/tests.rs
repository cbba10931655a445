#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn names_with_parentheses_do_not_confuse() {
    let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 1\n";
    assert_eq!(state_and_start(stat), Some(('S', 98765)));
    assert_eq!(state_and_start("42 (a"), None);
}

#[test]
fn only_the_same_process_is_alive() {
    let own = identify(i32::try_from(std::process::id()).unwrap()).unwrap();
    assert!(is_alive(&own));
    let later = Init { started: own.started + 1, ..own.clone() };
    assert!(!is_alive(&later));
    // Killing one that is another process now is not an error, and kills nothing.
    kill(&later).unwrap();
    assert!(!is_alive(&Init { boot: "another".into(), ..own }));
}
