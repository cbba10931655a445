#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::unpack::tests::Layer;
use crate::unpack::{Owners, Whiteouts};

fn store(dir: &Path) -> LayerStore {
    let options = UnpackOptions {
        whiteouts: Whiteouts::Apply,
        owners: Owners::Ignore,
        ..UnpackOptions::default()
    };
    LayerStore::open(dir, options).unwrap()
}

fn blob(dir: &Path, layer: Layer) -> (Digest, PathBuf) {
    let bytes = layer.bytes();
    let digest = Digest::of(&bytes);
    let path = dir.join(digest.hex());
    fs::write(&path, bytes).unwrap();
    (digest, path)
}

#[test]
fn a_layer_has_its_files_in_a_directory_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) =
        blob(dir.path(), Layer::default().dir("sealed", 0o500).file("sealed/a", "x"));
    assert_eq!(store.layer(&digest), None);
    store.unpack(&digest, &path).unwrap();
    let layer = store.layer(&digest).unwrap();
    assert_eq!(fs::read_to_string(layer.join("fs/rootfs/sealed/a")).unwrap(), "x");
    assert_eq!(store.layers().unwrap(), [LayerStore::name(&digest)]);
    assert_eq!(fs::read_dir(dir.path().join("store/partial")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_left_is_replaced_or_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) = blob(dir.path(), Layer::default().file("a", "x"));
    let left = store.partial(&digest, "tree");
    fs::create_dir_all(left.join("fs/rootfs/half")).unwrap();
    store.unpack(&digest, &path).unwrap();
    let layer = store.layer(&digest).unwrap().join("fs/rootfs");
    assert!(!layer.join("half").exists() && layer.join("a").exists());
    fs::create_dir_all(&left).unwrap();
    store.clear_leftovers().unwrap();
    assert!(!left.exists() && layer.exists());
}

#[test]
fn a_bad_layer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) = blob(dir.path(), Layer::default().file("a", "x").file("../b", "x"));
    assert!(matches!(store.unpack(&digest, &path), Err(StoreError::Unpack { .. })));
    assert_eq!(store.layer(&digest), None);
    assert_eq!(fs::read_dir(dir.path().join("store/partial")).unwrap().count(), 0);
}

#[test]
fn directories_that_a_layer_does_not_describe_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let entries = Layer::default().file("tmp/a/b", "x").dir("usr", 0o755).file("usr/c", "x");
    let (digest, path) = blob(dir.path(), entries.dir("tmp", 0o777));
    store.unpack(&digest, &path).unwrap();
    assert_eq!(store.implied(&LayerStore::name(&digest)).unwrap(), [Path::new("tmp/a")]);
}
