#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn parsed(argv: &[&str]) -> Result<Invocation, String> {
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    parse(&argv, |_| Ok("git\n".to_owned())).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_type_and_script_come_from_the_arguments() {
    let check = Invocation::Resource { kind: Kind::Mock, action: Action::Check };
    assert_eq!(parsed(&["jb-resources", "mock", "check"]), Ok(check));
    let fetch =
        Invocation::Resource { kind: Kind::RegistryImage, action: Action::In("/tmp/x".into()) };
    assert_eq!(parsed(&["./jb-resources", "registry-image", "in", "/tmp/x"]), Ok(fetch));
}

#[test]
fn an_installed_script_takes_its_type_from_beside_itself() {
    let push =
        Invocation::Resource { kind: Kind::Git, action: Action::Out("/tmp/build/put".into()) };
    assert_eq!(parsed(&["/opt/resource/out", "/tmp/build/put"]), Ok(push));
    let check = Invocation::Resource { kind: Kind::Git, action: Action::Check };
    assert_eq!(parsed(&["/opt/resource/check"]), Ok(check));
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    assert!(parsed(&["jb-resources"]).unwrap_err().starts_with("usage: "));
    assert!(parsed(&["jb-resources", "hg", "check"]).unwrap_err().contains("\"hg\""));
    assert!(parsed(&["jb-resources", "git", "push", "x"]).unwrap_err().contains("\"push\""));
    assert_eq!(parsed(&["/opt/resource/in"]), Err("in needs a directory argument".to_owned()));
    assert_eq!(parsed(&["/opt/resource/in", ""]), Err("in needs a directory argument".to_owned()));
}
