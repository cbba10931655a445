#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::symlink;

use super::*;

struct Place {
    dir: tempfile::TempDir,
    volumes: Volumes,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(&dir.path().join("claim"), &dir.path().join("scratch"));
    volumes.prepare(None).unwrap();
    Place { dir, volumes }
}

fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn what_was_published_can_be_extracted_and_read() {
    let Place { dir, volumes } = place();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("a")).unwrap();
    fs::write(source.join("a/f"), "12345").unwrap();
    symlink("a/f", source.join("link")).unwrap();
    volumes.publish("v", &source).unwrap();
    assert_eq!(volumes.list().unwrap(), ["v"]);
    assert_eq!(volumes.kind("v").unwrap(), Some(Kind::Archive));
    let target = dir.path().join("target");
    volumes.extract("v", &target, false).unwrap();
    assert_eq!(fs::read_to_string(target.join("link")).unwrap(), "12345");
    for path in ["a/f", "link", "./a/f"] {
        assert_eq!(volumes.read_file("v", path, 5).unwrap().as_deref(), Some(&b"12345"[..]));
    }
    assert_eq!(volumes.read_file("v", "a", 5).unwrap(), None);
    assert!(volumes.read_file("v", "a/f", 4).is_err());
    volumes.remove("v").unwrap();
    volumes.remove("v").unwrap();
    assert!(matches!(volumes.extract("v", &target, false), Err(Error::NoVolume(_))));
}

#[test]
fn archives_are_added_to_what_is_there() {
    let Place { dir: _dir, volumes } = place();
    volumes.create("v").unwrap();
    volumes.add("v", ".", tar(&[("one", "1")]).as_slice(), 100).unwrap();
    volumes.add("v", "deep/down", tar(&[("two", "2")]).as_slice(), 100).unwrap();
    assert_eq!(volumes.read_file("v", "one", 9).unwrap().unwrap(), b"1");
    assert_eq!(volumes.read_file("v", "deep/down/two", 9).unwrap().unwrap(), b"2");
    let mut archive = Vec::new();
    volumes.archive("v", "deep", &mut archive).unwrap();
    let names: Vec<String> = tar::Archive::new(archive.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["./", "down", "down/two"]);
}

#[test]
fn interrupted_writes_leave_what_was_there() {
    let Place { dir, volumes } = place();
    volumes.create("v").unwrap();
    volumes.add("v", ".", tar(&[("f", "old")]).as_slice(), 100).unwrap();
    let whole = tar(&[("f", "new"), ("g", "new")]);
    assert!(volumes.add("v", ".", &whole[..700], 100).is_err());
    assert_eq!(volumes.read_file("v", "f", 9).unwrap().unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path().join("claim/partial")).unwrap().count(), 0);
}

#[test]
fn damage_is_noticed() {
    let Place { dir, volumes } = place();
    volumes.create("v").unwrap();
    let content = "some content that is long enough to be more than a header ".repeat(50);
    volumes.add("v", ".", tar(&[("f", &content)]).as_slice(), 1 << 20).unwrap();
    let path = dir.path().join("claim/volumes/v.tar.zst");
    let whole = fs::read(&path).unwrap();
    for damaged in [whole[..whole.len() - 2].to_vec(), {
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        flipped
    }] {
        fs::write(&path, damaged).unwrap();
        assert!(volumes.extract("v", &dir.path().join("out"), false).is_err());
    }
}

#[test]
fn images_are_kept_as_they_were_told() {
    let Place { dir: _dir, volumes } = place();
    assert_eq!(volumes.image("i").unwrap(), None);
    volumes.put_image("i", b"{}").unwrap();
    assert_eq!(volumes.kind("i").unwrap(), Some(Kind::Image));
    assert_eq!(volumes.image("i").unwrap().unwrap(), b"{}");
    assert_eq!(volumes.list().unwrap(), ["i"]);
}

#[test]
fn an_images_root_goes_over_that_of_a_container() {
    let Place { dir, volumes } = place();
    let source = dir.path().join("source");
    for directory in ["rootfs/etc", "rootfs/bin", "rootfs/dev"] {
        fs::create_dir_all(source.join(directory)).unwrap();
    }
    let files = [
        ("metadata.json", "{}"),
        ("rootfs/bin/sh", "shell"),
        ("rootfs/etc/hosts", "others"),
        ("rootfs/etc/hosts.allow", "all"),
        ("rootfs/dev/null", "much"),
    ];
    for (path, content) in files {
        fs::write(source.join(path), content).unwrap();
    }
    fs::hard_link(source.join("rootfs/bin/sh"), source.join("rootfs/bin/bash")).unwrap();
    volumes.publish("v", &source).unwrap();
    let archive = dir.path().join("copy");
    volumes.copy_archive("v", &archive).unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/hosts"), "own").unwrap();
    extract_root(&archive, &root, false).unwrap();
    assert_eq!(fs::read_to_string(root.join("bin/bash")).unwrap(), "shell");
    assert_eq!(fs::read_to_string(root.join("etc/hosts")).unwrap(), "own");
    assert_eq!(fs::read_to_string(root.join("etc/hosts.allow")).unwrap(), "all");
    assert!(!root.join("dev").exists() && !root.join("metadata.json").exists());
    // What is no image is said to be none.
    volumes.create("empty").unwrap();
    volumes.copy_archive("empty", &archive).unwrap();
    let error = extract_root(&archive, &root, false).unwrap_err().to_string();
    assert!(error.contains("no directory `rootfs`"), "{error}");
    assert!(matches!(volumes.copy_archive("none", &archive), Err(Error::NoVolume(_))));
}

#[test]
fn of_an_image_elsewhere_the_small_files_are_extracted() {
    let Place { dir, volumes } = place();
    volumes
        .put_image("v", br#"{"name": "n", "files": {"tag": "1.2", "../digest": "sha"}}"#)
        .unwrap();
    let target = dir.path().join("target");
    volumes.extract("v", &target, false).unwrap();
    assert_eq!(fs::read_to_string(target.join("tag")).unwrap(), "1.2");
    assert_eq!(fs::read_to_string(target.join("digest")).unwrap(), "sha");
}
