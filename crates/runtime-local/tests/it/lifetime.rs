//! Containers and volumes over restarts, failures and crowds; and what is left after them.

use jb_model::VolumeHandle;
use jb_runtime::{Error, Image, Mount, MountSource, Runtime};

use crate::machine::{Machine, handle, input, output, root, spec};

#[tokio::test]
async fn containers_outlive_the_server() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let made = VolumeHandle::new("made");
    let mut wanted = spec("survivor", Image::Volume(image));
    wanted.mounts = vec![output("out", &made)];
    machine.create(&wanted).await;
    machine.ok("survivor", "echo 1 > /marker; (busybox sleep 4321 > /dev/null 2>&1 &)").await;
    machine.restart();
    let list = machine.runtime().list().await.unwrap();
    assert_eq!((list.len(), list[0].running), (1, true));
    machine.create(&wanted).await;
    assert_eq!(
        machine
            .ok("survivor", "cat /marker; busybox grep -l 43[2]1 /proc/[0-9]*/cmdline | wc -l")
            .await,
        "1\n1"
    );
    machine.ok("survivor", "echo late > /tmp/build/1/out/file").await;
    machine.runtime().destroy(&handle("survivor")).await.unwrap();
    machine.restart();
    assert!(machine.runtime().list().await.unwrap().is_empty());
    assert_eq!(machine.files(&made).await, [("file".to_owned(), "late\n".to_owned())]);
}

#[tokio::test]
async fn a_container_whose_runner_ended_is_not_running() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.create(&spec("ended", Image::Host)).await;
    let mut stream = machine.runtime().connect(&handle("ended")).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"#die").await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await.ok();
    for _ in 0..2 {
        while machine.runtime().list().await.unwrap()[0].running {
            tokio::task::yield_now().await;
        }
        // Asking again changes nothing: what it did shall not be done twice.
        machine.create(&spec("ended", Image::Host)).await;
        assert!(!machine.runtime().list().await.unwrap()[0].running);
        let connected = machine.runtime().connect(&handle("ended")).await;
        assert!(matches!(connected, Err(Error::Io { .. })));
        machine.restart();
    }
    machine.runtime().destroy(&handle("ended")).await.unwrap();
    let gone = machine.runtime().connect(&handle("ended")).await;
    assert!(matches!(gone, Err(Error::NoContainer(_))));
}

#[tokio::test]
async fn half_made_containers_are_cleared_away() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.create(&spec("half", Image::Host)).await;
    machine.create(&spec("whole", Image::Host)).await;
    let containers = machine.state().join("containers");
    machine.runtime().destroy(&handle("half")).await.unwrap();
    // As a crash between writing the plan and starting would leave it, and one before.
    let text = std::fs::read_to_string(containers.join("whole/spec.json")).unwrap();
    let text = text.replace("\"whole\"", "\"half\"").replace("containers/whole", "containers/half");
    std::fs::create_dir(containers.join("half")).unwrap();
    std::fs::write(containers.join("half/spec.json"), text).unwrap();
    std::fs::create_dir(containers.join("empty")).unwrap();
    machine.restart();
    let names: Vec<String> =
        machine.runtime().list().await.unwrap().into_iter().map(|c| c.handle.0).collect();
    assert_eq!(names, ["whole"]);
    assert_eq!(std::fs::read_dir(&containers).unwrap().count(), 1);
    machine.create(&spec("half", Image::Host)).await;
    machine.ok("half", ":").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_leave_nothing() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let source = machine.volume("source", &[("a", "1")]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let runtime = machine.runtime().clone();
        let mut wanted = spec(&format!("many-{n}"), Image::Volume(image.clone()));
        wanted.limits.memory_bytes = (n % 10 == 0).then_some(256 << 20);
        wanted.mounts = vec![input("in", &source)];
        tasks.spawn(async move {
            // Twice at the same time: one container.
            let (one, two) = tokio::join!(runtime.create(&wanted), runtime.create(&wanted));
            one.unwrap();
            two.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(machine.runtime().list().await.unwrap().iter().filter(|c| c.running).count(), 50);
    let addresses: std::collections::BTreeSet<String> = {
        let mut all = std::collections::BTreeSet::new();
        for n in 0..50 {
            let script = "ip -o -4 addr show eth0; cat /tmp/build/1/in/a";
            all.insert(machine.ok(&format!("many-{n}"), script).await);
        }
        all
    };
    assert_eq!(addresses.len(), 50);
    let state = machine.state();
    let name = state.to_str().unwrap().to_owned();
    machine.runtime().release().unwrap();
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(&name));
    for part in ["containers", "trash"] {
        assert_eq!(std::fs::read_dir(state.join(part)).unwrap().count(), 0, "{part}");
    }
    let network = std::fs::read_to_string(state.join("network.json")).unwrap();
    let bridge = network.split('"').nth(3).unwrap();
    assert!(!std::path::Path::new("/sys/class/net").join(bridge).exists());
}

#[tokio::test]
async fn mounts_nest_in_every_order() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let source = machine.volume("source", &[("x", "1"), ("deep/er/y", "2")]).await;
    let paths = ["a", "a/deep", "a/deep/er", "/tmp/build/1/a/deep/er/new"];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
    for (n, order) in orders.iter().enumerate() {
        let name = format!("nest-{n}");
        let made: Vec<VolumeHandle> =
            (0..4).map(|i| VolumeHandle::new(format!("made-{n}-{i}"))).collect();
        let mut wanted = spec(&name, Image::Volume(image.clone()));
        wanted.mounts =
            order
                .iter()
                .map(|i| {
                    if i % 2 == 0 {
                        input(paths[*i], &source)
                    } else {
                        output(paths[*i], &made[*i])
                    }
                })
                .collect();
        machine.create(&wanted).await;
        let script = "cd /tmp/build/1/a; cat x deep/er/x deep/er/deep/er/y; ls deep; \
            echo 3 > deep/three; echo 4 > deep/er/new/four";
        assert_eq!(machine.ok(&name, script).await, "112er");
        machine.runtime().destroy(&handle(&name)).await.unwrap();
        assert_eq!(machine.files(&made[1]).await, [("three".to_owned(), "3\n".to_owned())]);
        assert_eq!(machine.files(&made[3]).await, [("four".to_owned(), "4\n".to_owned())]);
    }
    let mut wanted = spec("twice", Image::Host);
    wanted.mounts =
        vec![output("a", &VolumeHandle::new("p")), output("./a/", &VolumeHandle::new("q"))];
    assert!(matches!(machine.runtime().create(&wanted).await, Err(Error::Unsupported(_))));
}

#[tokio::test]
async fn a_volume_in_use_is_kept() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let source = machine.volume("source", &[("a", "1")]).await;
    let copy = VolumeHandle::new("copy");
    let mut wanted = spec("user", Image::Host);
    wanted.mounts = vec![Mount {
        path: "io".into(),
        source: MountSource::Input { volume: source.clone(), copy: Some(copy.clone()) },
    }];
    machine.create(&wanted).await;
    machine.runtime().destroy_volume(&source).await.unwrap();
    machine.runtime().destroy_volume(&source).await.unwrap();
    assert_eq!(machine.ok("user", "cat /tmp/build/1/io/a").await, "1");
    machine.runtime().destroy(&handle("user")).await.unwrap();
    // The copy stands on what the destroyed volume held.
    assert_eq!(machine.files(&copy).await, [("a".to_owned(), "1".to_owned())]);
    machine.runtime().destroy_volume(&copy).await.unwrap();
    machine.runtime().release().unwrap();
    // What is left is the built-in resource types.
    assert_eq!(std::fs::read_dir(machine.state().join("data")).unwrap().count(), 1);
    let error = machine.runtime().create(&wanted).await;
    assert!(matches!(error, Err(Error::NoVolume(volume)) if volume == source));
}

#[tokio::test]
async fn copies_of_copies_stay_readable() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    let mut last = machine.volume("step-0", &[("dir/zero", "0"), ("gone", "g")]).await;
    for n in 1..=30 {
        let name = format!("step-{n}");
        let copy = VolumeHandle::new(name.clone());
        let mut wanted = spec(&name, Image::Host);
        wanted.mounts = vec![Mount {
            path: "io".into(),
            source: MountSource::Input { volume: last.clone(), copy: Some(copy.clone()) },
        }];
        machine.create(&wanted).await;
        let previous = n - 1;
        let script = format!(
            "set -e; cd /tmp/build/1/io; echo {n} > n; rm -rf gone sub; mkdir -p sub; \
             echo {n} > sub/{n}; test ! -e sub/{previous}"
        );
        machine.ok(&name, &script).await;
        machine.runtime().destroy(&handle(&name)).await.unwrap();
        machine.runtime().destroy_volume(&last).await.unwrap();
        last = copy;
    }
    machine.restart();
    let files = machine.files(&last).await;
    let expected = [("dir/zero", "0"), ("n", "30\n"), ("sub/30", "30\n")];
    assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    let read = machine.runtime().read_file(&last, "sub/30", 10).await.unwrap();
    assert_eq!(read.as_deref(), Some(b"30\n".as_slice()));
    assert_eq!(machine.runtime().read_file(&last, "sub/29", 10).await.unwrap(), None);
    // An archive on top of a stack of copies.
    machine.volume("step-30", &[("sub/more", "m")]).await;
    let names: Vec<String> = machine.files(&last).await.into_iter().map(|file| file.0).collect();
    assert_eq!(names, ["dir/zero", "n", "sub/30", "sub/more"]);
}
