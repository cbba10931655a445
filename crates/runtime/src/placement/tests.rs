#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::VolumeHandle;

use super::*;

fn volume(name: &str) -> VolumeHandle {
    VolumeHandle::new(name)
}

fn output(path: &str, name: &str) -> Mount {
    Mount { path: path.into(), source: MountSource::Output(volume(name)) }
}

fn input(path: &str, name: &str) -> Mount {
    Mount { path: path.into(), source: MountSource::Input { volume: volume(name), copy: None } }
}

#[test]
fn paths_are_made_absolute() {
    for (path, expected) in [
        ("a", "/w/a"),
        ("./a//b/", "/w/a/b"),
        ("../a", "/a"),
        ("../../../a", "/a"),
        ("/x/./y", "/x/y"),
        (".", "/w"),
        ("/", "/"),
    ] {
        assert_eq!(absolute(path, "/w"), expected, "{path}");
    }
}

#[test]
fn outer_mounts_come_first() {
    let mounts = [output("a/b/c", "1"), output("/w", "2"), output("a", "3"), output("z/y", "4")];
    let placed = place(&mounts, "/w").unwrap();
    let targets: Vec<&str> = placed.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/w", "/w/a", "/w/z/y", "/w/a/b/c"]);
}

#[test]
fn an_output_at_an_inputs_path_takes_its_copy() {
    for mounts in
        [[input("a", "in"), output("./a", "out")], [output("a", "out"), input("a/", "in")]]
    {
        let placed = place(&mounts, "/w").unwrap();
        let copy = MountSource::Input { volume: volume("in"), copy: Some(volume("out")) };
        assert_eq!(placed, [Placed { target: "/w/a".into(), source: copy }]);
    }
}

#[test]
fn impossible_mounts_are_refused() {
    assert!(place(&[output("/", "1")], "/w").is_err());
    assert!(place(&[output("/.jetbridge/journal", "1")], "/w").is_err());
    assert!(place(&[output("a", "1"), output("a", "2")], "/w").is_err());
    assert_eq!(place(&[output("a", "1"), output("a", "1")], "/w").unwrap().len(), 1);
}
