#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const PASSWD: &str = "root:x:0:0::/:/bin/sh\nbob:x:1234:1235::/:/bin/sh\n7:x:9:9::/:\n";
const GROUP: &str = "root:x:0:\ncrew:x:77:bob\n";

#[test]
fn users_are_found_as_images_name_them() {
    let find = |user| find(user, PASSWD, GROUP).map(|ids| (ids.user, ids.group));
    assert_eq!(find("bob"), Ok((1234, 1235)));
    assert_eq!(find("1234"), Ok((1234, 1235)));
    assert_eq!(find("bob:crew"), Ok((1234, 77)));
    assert_eq!(find("bob:5"), Ok((1234, 5)));
    assert_eq!(find("4000"), Ok((4000, 0)));
    assert_eq!(find("4000:crew"), Ok((4000, 77)));
    assert!(find("eve").unwrap_err().contains("`eve`"));
    assert!(find("bob:nogroup").unwrap_err().contains("`nogroup`"));
    assert!(find("4294967295").is_err());
}
