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
fn a_layer_is_unpacked_once_and_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) =
        blob(dir.path(), Layer::default().dir("sealed", 0o500).file("sealed/a", "x"));
    assert_eq!(store.layer(&digest), None);
    let layer = store.add_layer(&digest, &path).unwrap();
    assert_eq!(fs::read_to_string(layer.join("sealed/a")).unwrap(), "x");
    assert_eq!(store.layers().unwrap(), std::slice::from_ref(&digest));
    fs::remove_file(&path).unwrap();
    assert_eq!(store.add_layer(&digest, &path).unwrap(), layer);
    store.remove_layer(&digest).unwrap();
    store.remove_layer(&digest).unwrap();
    assert_eq!(store.layer(&digest), None);
    assert_eq!(fs::read_dir(dir.path().join("store/partial")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) = blob(dir.path(), Layer::default().file("a", "x"));
    let left = store.path("partial", &digest).with_extension("tree");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("half"), "").unwrap();
    let layer = store.add_layer(&digest, &path).unwrap();
    assert!(!layer.join("half").exists() && layer.join("a").exists());
}

#[test]
fn a_bad_layer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) = blob(dir.path(), Layer::default().file("a", "x").file("../b", "x"));
    assert!(matches!(store.add_layer(&digest, &path), Err(StoreError::Unpack { .. })));
    assert_eq!(store.layer(&digest), None);
    assert_eq!(fs::read_dir(dir.path().join("store/partial")).unwrap().count(), 0);
}

#[test]
fn many_at_once_unpack_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) = blob(dir.path(), Layer::default().file("a", "x"));
    let inodes: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let layer = store.add_layer(&digest, &path).unwrap();
                    std::os::unix::fs::MetadataExt::ino(&fs::metadata(layer.join("a")).unwrap())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(inodes.iter().all(|inode| *inode == inodes[0]));
}

#[test]
fn an_image_is_found_when_all_of_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("store"));
    let (digest, path) = blob(dir.path(), Layer::default().file("a", "x"));
    let config = br#"{"config": {"Env": ["A=1"], "Labels": null}}"#;
    let config_digest = Digest::of(config);
    let manifest = format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "c", "digest": "{config_digest}", "size": 1}},
            "layers": [{{"mediaType": "l", "digest": "{digest}", "size": 1}}]}}"#
    );
    let raw = RawManifest::parse(manifest.into_bytes(), "").unwrap();
    assert!(store.image(&raw.digest).unwrap().is_none());
    store.add_image(&raw, &config_digest, config).unwrap();
    assert!(store.image(&raw.digest).unwrap().is_none());
    let layer = store.add_layer(&digest, &path).unwrap();
    let image = store.image(&raw.digest).unwrap().unwrap();
    assert_eq!(image.layers, [layer]);
    assert_eq!(image.config.config.env, ["A=1"]);
}
