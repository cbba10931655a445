//! Images fetched by digest, their layers unpacked once.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use jb_model::VolumeHandle;
use jb_oci::{Digest, UnpackOptions, Unpacker};
use jb_runtime::{Image, ImageFetch, Mount, MountSource, Runtime};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::image::{Contents, Layer, request, shell};
use crate::machine::{Machine, handle, input, root, spec};
use crate::served::fetched;

/// Three layers that add, replace and remove in every way.
fn layers() -> [Vec<u8>; 3] {
    let base = shell()
        .dir("etc", 0o755)
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\nbob:x:1234:1234::/:/bin/sh\n")
        .dir("tmp", 0o1777)
        .dir("srv", 0o750)
        .dir("srv/data", 0o710)
        .bytes("srv/data/bobs", b"bob", 0o600, 1234)
        .file("removed", "x")
        .dir("tree", 0o755)
        .file("tree/gone", "x")
        .dir("dir", 0o755)
        .file("dir/old", "x")
        .dir("dir/deep", 0o755)
        .file("dir/deep/old", "x")
        .file("file", "1")
        .file("becomes", "a file");
    let middle = Layer::new()
        .file(".wh.removed", "")
        .file(".wh.tree", "")
        .dir("dir", 0o700)
        .file("dir/.wh..wh..opq", "")
        .file("dir/new", "2")
        .file("file", "2")
        .file("tmp/implied", "x")
        .file("srv/data/more/x", "x")
        .symlink("link", "etc/passwd")
        .symlink("out", "/../../etc");
    let top = Layer::new()
        .file("file", "3")
        .file(".wh.becomes", "")
        .link(tar::EntryType::Link, "same", "file")
        .dir("becomes", 0o755)
        .file("becomes/dir", "3")
        .file("srv/data/top", "x");
    [base.done(), middle.done(), top.done()]
}

/// What a file system shows of one entry: path, kind and mode, owner, and content or target.
type Shown = (String, String, (u32, u32), String);

fn walk(dir: &Path, below: &str, found: &mut Vec<Shown>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.path().symlink_metadata().unwrap();
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        let kind = metadata.file_type();
        assert!(!kind.is_char_device());
        let owner = (metadata.uid(), metadata.gid());
        let mode = metadata.mode() & 0o7777;
        if kind.is_symlink() {
            let target = entry.path().read_link().unwrap().display().to_string();
            found.push((path, "link".into(), owner, target));
        } else if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found);
            found.push((path, format!("dir {mode:o}"), owner, String::new()));
        } else {
            let content = Digest::of(&std::fs::read(entry.path()).unwrap()).to_string();
            found.push((path, format!("file {mode:o}"), owner, content));
        }
    }
}

fn flat(layers: &[Vec<u8>]) -> Vec<Shown> {
    let dir = tempfile::tempdir().unwrap();
    let mut unpacker = Unpacker::new(dir.path(), UnpackOptions::default()).unwrap();
    for layer in layers {
        unpacker.layer(layer.as_slice()).unwrap();
    }
    unpacker.finish().unwrap();
    let mut found = Vec::new();
    walk(dir.path(), "", &mut found);
    found.sort();
    found
}

/// The `rootfs` of a volume as an archive of it unpacks.
async fn streamed(machine: &Machine, volume: &str) -> Vec<Shown> {
    let volume = VolumeHandle::new(volume);
    let mut stream = machine.runtime().stream_out(&volume, "rootfs").await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.unpack(dir.path()).unwrap();
    let mut found = Vec::new();
    walk(dir.path(), "", &mut found);
    found.sort();
    found
}

fn text(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_make_the_image_wherever_it_is_used() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    let layers = layers();
    let contents = Contents::default();
    let digest = contents.image(&layers.each_ref());
    let server = contents.serve(|_| ());
    let repository = format!("{}/some/image", server.host());
    let source = json!({"label_regex": "made", "bogus": 1});
    let (outcome, log) = machine.fetch("image", request(&repository, &digest, source)).await;
    let ImageFetch::Fetched(metadata) = outcome else { panic!("{outcome:?}: {log}") };
    let metadata: Vec<_> = metadata.iter().map(|m| (m.name.as_str(), m.value.as_str())).collect();
    assert_eq!(metadata, [("repository", repository.as_str()), ("tag", "x"), ("made", "here")]);
    assert!(log.starts_with("WARN ignoring unknown keys: source.bogus\nINFO fetching "), "{log}");
    assert_eq!(log.matches("INFO layer ").count(), 3, "{log}");

    let volume = VolumeHandle::new("image");
    for (file, content) in [("digest", digest.as_str()), ("tag", "x"), ("repository", &repository)]
    {
        let read = machine.runtime().read_file(&volume, file, 1000).await.unwrap();
        assert_eq!(text(read), content);
    }
    let read = machine.runtime().read_file(&volume, "rootfs/file", 10).await.unwrap();
    assert_eq!(text(read), "3");
    assert_eq!(machine.runtime().read_file(&volume, "rootfs/removed", 10).await.unwrap(), None);
    assert_eq!(streamed(&machine, "image").await, flat(&layers));

    // Also after a restart: as a root, as an input and as one that is written to.
    machine.restart();
    let copy = VolumeHandle::new("copy");
    let mut wanted = spec("task", Image::Volume(volume.clone()));
    let source = MountSource::Input { volume: volume.clone(), copy: Some(copy.clone()) };
    wanted.mounts = vec![input("in", &volume), Mount { path: "both".into(), source }];
    machine.create(&wanted).await;
    let look = "echo dir/* file becomes/*; cat dir/* file same becomes/dir; echo; \
        stat -c '%a %u' tmp srv srv/data dir srv/data/bobs; \
        for name in removed tree dir/old dir/deep; do test -e $name && echo $name; done; true";
    let seen = "dir/new file becomes/dir\n2333\n1777 0\n750 0\n710 0\n700 0\n600 1234";
    assert_eq!(machine.ok("task", &format!("cd /; {look}")).await, seen);
    assert_eq!(machine.ok("task", &format!("cd /tmp/build/1/in/rootfs; {look}")).await, seen);
    machine.ok("task", "cd /tmp/build/1; rm both/rootfs/file; echo n > both/new; rm in/tag").await;
    machine.runtime().destroy(&handle("task")).await.unwrap();
    let read = machine.runtime().read_file(&copy, "new", 10).await.unwrap();
    assert_eq!(text(read), "n\n");
    assert_eq!(machine.runtime().read_file(&copy, "rootfs/file", 10).await.unwrap(), None);
    assert_eq!(streamed(&machine, "image").await, flat(&layers));
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_layers_are_fetched_once_and_kept_as_long_as_needed() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let [base, middle, top] = layers();
    let other = Layer::new().file("other", "x").done();
    let contents = Contents::default();
    let (one, two) = (
        contents.image(&[&base, &middle, &top]),
        // The same layer twice, which overlays refuse.
        contents.image(&[&base, &other, &base, &other]),
    );
    let server = contents.serve(|_| ());
    let repository = format!("{}/x", server.host());
    assert!(matches!(
        machine.fetch("one", request(&repository, &one, json!({}))).await.0,
        ImageFetch::Fetched(_)
    ));
    let (outcome, log) = machine.fetch("two", request(&repository, &two, json!({}))).await;
    assert!(matches!(outcome, ImageFetch::Fetched(_)));
    assert_eq!(log.matches("found here").count(), 1, "{log}");
    let counts = [&base, &middle, &top, &other].map(|layer| fetched(&server, layer));
    assert_eq!(counts, [1, 1, 1, 1]);
    assert_eq!(streamed(&machine, "two").await, flat(&[base.clone(), other, base]));
    // Again, under another name and over itself.
    for name in ["three", "one"] {
        machine.fetch(name, request(&repository, &one, json!({}))).await;
    }
    assert_eq!((machine.layers(), fetched(&server, &top)), (4, 1));

    machine.create(&spec("user", Image::Volume(VolumeHandle::new("one")))).await;
    for name in ["one", "three"] {
        machine.runtime().destroy_volume(&VolumeHandle::new(name)).await.unwrap();
    }
    assert_eq!(machine.ok("user", "cat /file; ls /dir").await, "3new");
    assert_eq!(machine.layers(), 4);
    machine.runtime().destroy(&handle("user")).await.unwrap();
    assert_eq!(machine.layers(), 2);
    machine.create(&spec("last", Image::Volume(VolumeHandle::new("two")))).await;
    assert_eq!(machine.ok("last", "cat /other").await, "x");
    machine.runtime().destroy(&handle("last")).await.unwrap();
    machine.runtime().destroy_volume(&VolumeHandle::new("two")).await.unwrap();
    assert_eq!(machine.layers(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_leaves_nothing() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let [base, middle, top] = layers();
    let contents = Contents::default();
    let digest = contents.image(&[&base, &middle, &top]);
    contents.damage(&Digest::of(&top));
    let server = contents.serve(|_| ());
    let repository = format!("{}/x", server.host());
    let (outcome, log) = machine.fetch("image", request(&repository, &digest, json!({}))).await;
    assert_eq!(outcome, ImageFetch::Failed);
    let last = log.lines().last().unwrap();
    assert!(
        last.starts_with("FATA download failed: ") && last.contains("its content has digest"),
        "{log}"
    );
    let missing = format!("sha256:{}", "0".repeat(64));
    let (outcome, log) = machine.fetch("image", request(&repository, &missing, json!({}))).await;
    assert_eq!(outcome, ImageFetch::Failed);
    assert!(log.trim_end().ends_with("not found"), "{log}");
    while machine.layers() + machine.partial() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(machine.runtime().list_volumes().await.unwrap().is_empty());
    // What the script would not unpack either, or says better itself, is left to it.
    let mut layout = request(&repository, &digest, json!({}));
    layout.params.insert("format".into(), "oci-layout".into());
    let mut bare = request(&repository, &digest, json!({}));
    bare.params.insert("skip_download".into(), true.into());
    for asked in [layout, bare, request(&repository, "nonsense", json!({}))] {
        assert_eq!(machine.fetch("image", asked).await, (ImageFetch::NotOffered, String::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_fetch_each_layer_once() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let layers = layers();
    let contents = Contents::default();
    let digest = contents.image(&layers.each_ref());
    let server = contents.serve(|_| ());
    let repository = format!("{}/x", server.host());
    let fetch = |name: &'static str| {
        let (machine, asked) = (&machine, request(&repository, &digest, json!({})));
        async move { machine.fetch(name, asked).await.0 }
    };
    let (a, b, c) = tokio::join!(fetch("a"), fetch("b"), fetch("c"));
    assert!([a, b, c].iter().all(|outcome| matches!(outcome, ImageFetch::Fetched(_))));
    assert_eq!(layers.each_ref().map(|layer| fetched(&server, layer)), [1, 1, 1]);
    assert_eq!(streamed(&machine, "c").await, flat(&layers));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_pull_leaves_nothing_half() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    let layers = layers();
    let contents = Contents::default();
    let digest = contents.image(&layers.each_ref());
    let last = format!("/blobs/{}", Digest::of(&layers[2]));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (arrived, mut arrival) = mpsc::channel(16);
    let held = Arc::clone(&gate);
    let server = contents.serve(move |asked| {
        if asked.target.ends_with(&last) {
            arrived.try_send(()).ok();
            let open = held.0.lock().unwrap();
            drop(held.1.wait_while(open, |open| !*open).unwrap());
        }
    });
    let repository = format!("{}/x", server.host());
    tokio::select! {
        outcome = machine.fetch("image", request(&repository, &digest, json!({}))) => panic!("{outcome:?}"),
        _ = arrival.recv() => {}
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    while machine.layers() + machine.partial() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(machine.runtime().list_volumes().await.unwrap().is_empty());
    // What a server left that was killed is cleared away by the next.
    std::fs::write(machine.state().join("images/partial/sha256-0.blob"), "half").unwrap();
    std::fs::create_dir(machine.state().join("images/layers/sha256-0")).unwrap();
    machine.restart();
    assert_eq!((machine.partial(), machine.layers()), (0, 0));
    let (outcome, _) = machine.fetch("image", request(&repository, &digest, json!({}))).await;
    assert!(matches!(outcome, ImageFetch::Fetched(_)));
    assert_eq!(streamed(&machine, "image").await, flat(&layers));
    // A volume whose layers somebody removed is gone, rather than broken.
    machine.runtime = None;
    std::fs::remove_dir_all(machine.state().join("images")).unwrap();
    machine.restart();
    assert!(machine.runtime().list_volumes().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_cannot_be_stacked_are_left_to_the_script() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let base = shell().dir("usr", 0o755).dir("usr/lib", 0o755).symlink("lib", "usr/lib").done();
    let through = Layer::new().file("lib/x", "x").done();
    let hides = Layer::new().file(".wh..wh..opq", "").file("alone", "x").done();
    let contents = Contents::default();
    let (one, two) =
        (contents.image(&[&base, &through]), contents.image(&[&base, &through, &hides]));
    let server = contents.serve(|_| ());
    let repository = format!("{}/x", server.host());
    let (outcome, log) = machine.fetch("one", request(&repository, &one, json!({}))).await;
    assert_eq!(outcome, ImageFetch::NotOffered);
    assert!(log.contains("through links"), "{log}");
    assert_eq!(machine.layers(), 0);
    let (outcome, _) = machine.fetch("two", request(&repository, &two, json!({}))).await;
    assert!(matches!(outcome, ImageFetch::Fetched(_)));
    assert_eq!(streamed(&machine, "two").await, flat(&[hides]));
}
