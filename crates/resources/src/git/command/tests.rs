use super::*;

#[test]
fn errors_do_not_show_passwords() {
    assert_eq!(shown(&["clone", "--", "https://u:p@h/x", "d"]), "git clone -- https://h/x d");
    assert_eq!(without_login("ssh://git@h/x"), "ssh://git@h/x");
    assert_eq!(without_login("https://h/a@b:c"), "https://h/a@b:c");
}
