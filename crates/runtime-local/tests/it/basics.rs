//! Containers from the host's file system and from image volumes, with volumes in them.

use jb_model::VolumeHandle;
use jb_runtime::{Image, Mount, MountSource, Runtime};

use crate::machine::{Machine, cache, handle, input, output, root, spec};

#[tokio::test]
async fn host_image_runs_and_goes() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    machine.create(&spec("one", Image::Host)).await;
    assert_eq!(machine.ok("one", "hostname; pwd").await, "tester\n/");
    assert_eq!(machine.ok("one", "cat /proc/1/comm").await, "runner");
    assert!(machine.runtime().list().await.unwrap()[0].running);
    machine.create(&spec("one", Image::Host)).await;
    machine.runtime().destroy(&handle("one")).await.unwrap();
    machine.runtime().destroy(&handle("one")).await.unwrap();
    assert!(machine.runtime().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn image_volume_and_mounts() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let source = machine.volume("source", &[("a", "1"), ("sub/b", "2")]).await;
    let (made, kept, copy) =
        (VolumeHandle::new("made"), VolumeHandle::new("kept"), VolumeHandle::new("copy"));
    let mut wanted = spec("two", Image::Volume(image));
    wanted.mounts = vec![
        output("src/out", &made),
        cache("/cache", &kept),
        input("src", &source),
        Mount {
            path: "both".into(),
            source: MountSource::Input { volume: source.clone(), copy: Some(copy.clone()) },
        },
    ];
    machine.create(&wanted).await;
    let script = "set -e; cd /tmp/build/1; cat src/a src/sub/b; echo new > src/a; echo o > src/out/o; \
        echo c > /cache/c; busybox rm both/a; echo x > both/sub/x";
    assert_eq!(machine.ok("two", script).await, "12");
    machine.runtime().destroy(&handle("two")).await.unwrap();
    let file = |path: &str, content: &str| (path.to_owned(), content.to_owned());
    assert_eq!(machine.files(&source).await, [file("a", "1"), file("sub/b", "2")]);
    assert_eq!(machine.files(&made).await, [file("o", "o\n")]);
    assert_eq!(machine.files(&kept).await, [file("c", "c\n")]);
    assert_eq!(machine.files(&copy).await, [file("sub/b", "2"), file("sub/x", "x\n")]);
}
