#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    # a remark\n\
    broken:x:notanumber:1::/:\n\
    git:x:1000:100::/home/git:/bin/sh\n\
    bare:x:7:8\n\
    42:x:9:9::/digits:/bin/sh\n";
const GROUP: &str = "root:x:0:root\nusers:x:100:\ndocker:x:998:git,other\nwheel:x:10:root,git\n";

fn identity(user: &str) -> (u32, u32, Vec<u32>, String, String) {
    let found = resolve(user, PASSWD, GROUP).unwrap();
    (found.uid, found.gid, found.groups, found.home, found.name)
}

#[test]
fn names_numbers_and_groups_resolve() {
    for (user, uid, gid, groups, home, name) in [
        ("root", 0, 0, vec![0, 10], "/root", "root"),
        ("git", 1000, 100, vec![998, 10], "/home/git", "git"),
        ("1000", 1000, 100, vec![998, 10], "/home/git", "git"),
        ("git:docker", 1000, 998, vec![], "/home/git", "git"),
        ("git:5", 1000, 5, vec![], "/home/git", "git"),
        ("git:", 1000, 100, vec![998, 10], "/home/git", "git"),
        ("4000:4001", 4000, 4001, vec![], "/", "4000"),
        ("4000", 4000, 0, vec![], "/", "4000"),
        ("bare", 7, 8, vec![], "/", "bare"),
        ("42", 9, 9, vec![], "/digits", "42"),
    ] {
        let expected = (uid, gid, groups, home.to_owned(), name.to_owned());
        assert_eq!(identity(user), expected, "{user}");
    }
}

#[test]
fn root_needs_no_files() {
    for user in ["root", "0"] {
        let found = resolve(user, "", "").unwrap();
        assert_eq!((found.uid, found.gid, found.home.as_str()), (0, 0, "/root"));
    }
}

#[test]
fn unknown_names_are_errors() {
    assert!(resolve("nobody", PASSWD, GROUP).unwrap_err().contains("`nobody`"));
    assert!(resolve("git:nogroup", PASSWD, GROUP).unwrap_err().contains("`nogroup`"));
    assert!(resolve("broken", PASSWD, GROUP).is_err());
    assert!(resolve("99999999999", PASSWD, GROUP).is_err());
}
