#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn digests_are_checked() {
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").as_str(), empty);
    let digest = Digest::parse(empty).unwrap();
    assert_eq!((digest.algorithm(), digest.short()), ("sha256", "e3b0c44298fc"));
    let long = format!("sha512:{}", "a".repeat(128));
    assert_eq!(Digest::parse(&long).unwrap().hasher().finish().algorithm(), "sha512");
    for text in [
        "",
        "sha256:",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &empty.to_uppercase(),
        "sha256:../../x",
        &empty[..70],
    ] {
        assert!(Digest::parse(text).is_err(), "{text:?}");
    }
    assert!(serde_json::from_str::<Digest>("\"sha256:zz\"").is_err());
}
