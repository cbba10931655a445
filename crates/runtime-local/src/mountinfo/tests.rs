#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn lines_are_parsed() {
    let text = b"36 35 98:0 /sub /mnt/with\\040space rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\nshort\n";
    let parsed = parse(text);
    assert_eq!(parsed.len(), 1);
    assert_eq!(parsed[0].root, "/sub");
    assert_eq!(parsed[0].target, PathBuf::from("/mnt/with space"));
    assert_eq!(parsed[0].kind, "ext3");
    assert_eq!(parsed[0].super_options, "rw,errors=continue");
}

#[test]
fn escapes_at_the_end_are_harmless() {
    assert_eq!(unescape(b"a\\"), b"a\\");
    assert_eq!(unescape(b"a\\01"), b"a\\01");
    assert_eq!(unescape(b"\\134"), b"\\");
}
