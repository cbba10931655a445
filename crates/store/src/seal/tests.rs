#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn seal(current: Option<&str>, old: Option<&str>) -> Seal {
    let key = |text: &str| EncryptionKey::new(text).unwrap();
    Seal::new(current.map(key).as_ref(), old.map(key).as_ref())
}

#[test]
fn opens_what_it_sealed_and_never_twice_the_same() {
    let seal = seal(Some("0123456789abcdef"), None);
    let first = seal.seal("jobs.config", r#"{"a":1}"#.into()).unwrap();
    let second = seal.seal("jobs.config", r#"{"a":1}"#.into()).unwrap();
    assert!(first.starts_with(PREFIX) && !first.contains(r#""a""#));
    assert_ne!(first, second);
    assert_eq!(seal.open("jobs.config", first).unwrap(), r#"{"a":1}"#);
}

#[test]
fn refuses_altered_text_and_other_columns() {
    let seal = seal(Some("0123456789abcdef"), None);
    let text = seal.seal("jobs.config", "{}".into()).unwrap();
    assert!(matches!(seal.open("builds.plan", text.clone()), Err(Error::Stored { .. })));
    let mut cut = text;
    cut.truncate(cut.len() - 4);
    assert!(matches!(seal.open("jobs.config", cut), Err(Error::Stored { .. })));
}

#[test]
fn tells_a_wrong_key_from_a_missing_one() {
    let text = seal(Some("0123456789abcdef"), None).seal("c", "{}".into()).unwrap();
    let wrong = seal(Some("fedcba9876543210"), None);
    assert!(matches!(wrong.open("c", text.clone()), Err(Error::WrongEncryptionKey)));
    assert!(matches!(seal(None, None).open("c", text), Err(Error::MissingEncryptionKey)));
    assert!(matches!(EncryptionKey::new("short"), Err(Error::BadEncryptionKey { .. })));
}

#[test]
fn an_old_key_opens_but_is_stale() {
    let text = seal(Some("0123456789abcdef"), None).seal("c", "{}".into()).unwrap();
    let rotating = seal(Some("fedcba9876543210"), Some("0123456789abcdef"));
    assert!(rotating.is_stale(&text) && rotating.is_stale("{}"));
    let opened = rotating.open("c", text).unwrap();
    assert!(!rotating.is_stale(&rotating.seal("c", opened).unwrap()));
    assert!(!seal(None, None).is_stale("{}"));
}
