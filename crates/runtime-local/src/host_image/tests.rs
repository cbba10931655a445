#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn only_programs_and_public_configuration_are_shown() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path();
    for directory in [
        "usr/bin",
        "etc/ssh",
        "etc/secret.d",
        "home/me",
        "srv",
        "data",
        "var/lib/dpkg",
        "var/lib/mine",
        "var/log",
        "var/odd",
        "opt/state",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (file, mode) in [
        ("etc/passwd", 0o644),
        ("etc/shadow", 0o640),
        ("etc/sudoers", 0o440),
        ("etc/ssh/key", 0o600),
        ("etc/secret.d/public", 0o644),
        ("swapfile", 0o600),
    ] {
        fs::write(root.join(file), "").unwrap();
        crate::store::set_mode(&root.join(file), mode).unwrap();
    }
    crate::store::set_mode(&root.join("etc/secret.d"), 0o700).unwrap();
    let hidden = [root.join("opt/state"), root.join("home/me"), root.join("not/there")];
    let changes = mask(root, &hidden).unwrap();
    let hides: Vec<&str> = changes
        .iter()
        .filter(|change| change.kind == ChangeKind::Hide)
        .map(|change| change.path.to_str().unwrap())
        .collect();
    let expected = [
        "data",
        "etc/secret.d",
        "etc/shadow",
        "etc/ssh/key",
        "opt/state",
        "swapfile",
        "var/lib/mine",
        "var/odd",
    ];
    assert_eq!(hides, expected);
    let emptied = |name: &str| {
        changes.iter().any(|change| {
            change.path == Path::new(name) && matches!(change.kind, ChangeKind::Empty { .. })
        })
    };
    assert!(emptied("home") && emptied("tmp") && emptied("var/log") && !emptied("usr"));
    // A directory comes before what is in it.
    let position = |name: &str| changes.iter().position(|change| change.path == Path::new(name));
    assert!(position("etc").unwrap() < position("etc/ssh").unwrap());
    assert!(position("etc/ssh").unwrap() < position("etc/ssh/key").unwrap());
}

#[test]
fn mounts_are_shown_where_their_place_is() {
    for shown in ["/usr", "/nix/store", "/var/lib/dpkg", "/etc/hosts"] {
        assert!(is_shown(Path::new(shown)), "{shown}");
    }
    for hidden in ["/", "/home", "/var", "/var/lib/docker/overlay2", "/proc/sys", "/boot/efi"] {
        assert!(!is_shown(Path::new(hidden)), "{hidden}");
    }
}
