#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::Value;

use super::*;

fn small_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["bin", "etc", "proc/1", "sys", "dev", "tmp/work", "opt/resource"] {
        fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    fs::write(root.path().join("bin/sh"), "shell").unwrap();
    fs::set_permissions(root.path().join("bin/sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::symlink("sh", root.path().join("bin/ash")).unwrap();
    fs::write(root.path().join("proc/1/mem"), "never").unwrap();
    fs::write(root.path().join("tmp/work/x"), "never").unwrap();
    root
}

fn metadata(dest: &Path) -> Value {
    serde_json::from_slice(&fs::read(dest.join("metadata.json")).unwrap()).unwrap()
}

#[test]
fn the_root_is_copied_without_its_mounts_and_itself() {
    let root = small_root();
    let dest = root.path().join("srv/get");
    image(root.path(), &dest, "v7").unwrap();
    let rootfs = dest.join("rootfs");
    assert_eq!(fs::read_to_string(rootfs.join("bin/sh")).unwrap(), "shell");
    assert_eq!(fs::metadata(rootfs.join("bin/sh")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(rootfs.join("bin/ash")).unwrap(), Path::new("sh"));
    for (dir, count) in
        [("proc", 0), ("tmp", 0), ("sys", 0), ("dev", 0), ("srv/get", 0), ("opt", 1)]
    {
        assert_eq!(fs::read_dir(rootfs.join(dir)).unwrap().count(), count, "{dir}");
    }
    let metadata = metadata(&dest);
    assert_eq!(metadata["env"], serde_json::json!(["MIRRORED_VERSION=v7", "VERSION=v7"]));
    assert_eq!(metadata["user"], "root");
    assert_eq!(metadata.get("rootfs"), None);
}

#[test]
fn the_machines_own_root_is_only_described() {
    let root = small_root();
    fs::write(root.path().join(HOST_ROOT_MARKER), "").unwrap();
    let dest = root.path().join("get");
    image(root.path(), &dest, "v7").unwrap();
    assert_eq!(fs::read_dir(dest.join("rootfs")).unwrap().count(), 0);
    assert_eq!(metadata(&dest)["rootfs"], "host");
}
