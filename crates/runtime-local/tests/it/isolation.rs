//! What containers can and cannot see and do.

use std::io::Write;

use jb_model::VolumeHandle;
use jb_model::config::ContainerLimits;
use jb_runtime::{Error, Image, Mount, MountSource, Network, Runtime, User};

use crate::image::header;
use crate::machine::{Machine, cache, handle, input, output, root, spec};

#[tokio::test]
async fn private_files_of_the_host_are_hidden() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let repository = env!("CARGO_MANIFEST_DIR");
    machine.create(&spec("hidden", Image::Host)).await;
    for path in ["/etc/shadow", "/boot", repository, machine.state().to_str().unwrap()] {
        assert_ne!(machine.sh("hidden", &format!("ls {path}")).await.0, 0, "{path} can be seen");
    }
    for path in ["/root", "/home", "/run", "/var/log", "/var/tmp"] {
        assert_eq!(machine.ok("hidden", &format!("ls -A {path}")).await, "", "{path}");
    }
    assert_eq!(machine.ok("hidden", "ls -A /tmp").await, "build");
    assert_eq!(machine.ok("hidden", "stat -c %a /root /tmp").await, "700\n1777");
    // Nothing written reaches the host, and what is hidden does not come back.
    machine.ok("hidden", "echo x > /usr/jb-probe; mkdir /boot; ls -A /boot").await;
    assert!(!std::path::Path::new("/usr/jb-probe").exists());
    // The host's paths are not in the mount table either.
    assert_ne!(machine.sh("hidden", "grep -q jb-local- /proc/self/mounts").await.0, 0);
}

#[tokio::test]
async fn privilege_is_what_was_asked_for() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    machine.create(&spec("plain", Image::Volume(image.clone()))).await;
    let mut wanted = spec("privileged", Image::Volume(image));
    wanted.privileged = true;
    machine.create(&wanted).await;

    let effective = "busybox grep CapEff /proc/self/status";
    assert_eq!(machine.ok("plain", effective).await, "CapEff:\t00000000a80425fb");
    let host = std::fs::read_to_string("/proc/self/status").unwrap();
    let all = host.lines().find(|line| line.starts_with("CapEff")).unwrap();
    assert_eq!(machine.ok("privileged", effective).await, all);
    assert_eq!(
        machine.ok("plain", "busybox grep ^Seccomp: /proc/self/status").await,
        "Seccomp:\t2"
    );

    let devices = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(machine.ok("plain", "ls /dev").await.replace('\n', " "), devices);
    let refused = [
        "mount -t tmpfs none /bin",
        "busybox unshare -U true",
        "busybox unshare -m true",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "busybox chroot /proc/1/root/../../.. ls /.jetbridge-no-such",
        "ls /dev/fuse",
        "busybox mknod /dev/vda b 254 0 && cat /dev/vda",
        "busybox mknod /tmp/vda b 254 0 && cat /tmp/vda",
        "busybox mknod /tmp/build/1/vda b 254 0 && cat /tmp/build/1/vda",
        "cat /proc/kcore",
        "busybox grep -q 'sysfs rw' /proc/mounts",
    ];
    for script in refused {
        assert_ne!(machine.sh("plain", script).await.0, 0, "`{script}` succeeded");
    }
    machine.ok("privileged", "ls /dev/fuse /dev/null").await;
    machine.ok("privileged", "busybox mkdir /m; mount -t tmpfs none /m").await;
    let devices = "echo x > /dev/null; busybox head -c 3 /dev/zero | wc -c; ls /dev/pts/ptmx";
    assert_eq!(machine.ok("plain", devices).await, "3\n/dev/pts/ptmx");
}

#[tokio::test]
async fn hermetic_containers_have_no_network() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let mut wanted = spec("hermetic", Image::Volume(image.clone()));
    wanted.network = Network::Hermetic;
    machine.create(&wanted).await;
    assert_eq!(machine.ok("hermetic", "ip route").await, "");
    machine.ok("hermetic", "ping -c 1 -W 1 127.0.0.1").await;
    let gateway = machine.runtime().host_gateway();
    assert_ne!(machine.sh("hermetic", &format!("ping -c 1 -W 1 {gateway}")).await.0, 0);
    assert_eq!(machine.ok("hermetic", "cat /etc/resolv.conf").await, "");

    machine.create(&spec("outbound", Image::Volume(image))).await;
    let listener = std::net::TcpListener::bind((gateway, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        listener.accept().unwrap().0.write_all(b"reached").unwrap();
    });
    let script = format!("busybox nc host.jetbridge.internal {port} < /dev/null");
    assert_eq!(machine.ok("outbound", &script).await, "reached");
    server.join().unwrap();
    assert_eq!(machine.ok("outbound", "hostname").await, "tester");
}

#[tokio::test]
async fn limits_hold_and_can_be_seen() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let mut wanted = spec("limited", Image::Host);
    wanted.limits = ContainerLimits { cpu_shares: Some(512), memory_bytes: Some(64 << 20) };
    machine.create(&wanted).await;
    let memory = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true";
    assert_eq!(machine.ok("limited", memory).await, "67108864");
    let cpu = "cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu.weight 2>/dev/null; true";
    assert!(["512", "20"].contains(&&*machine.ok("limited", cpu).await));
    let write = "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo 1 > /sys/fs/cgroup/memory.max";
    assert_ne!(machine.sh("limited", write).await.0, 0);
    let (code, _) =
        machine.sh("limited", "head -c 100m /dev/zero | tail -c 90m | wc -c; exit 0").await;
    assert_eq!(code, 0, "the runner must survive");
    let kills = "cat /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events 2>/dev/null | grep oom_kill\\ ";
    assert_ne!(machine.ok("limited", kills).await, "oom_kill 0");
}

/// As for every input, only the directory is the container's own: what somebody else wrote into it stays theirs, and
/// their volume is as it was.
#[tokio::test]
async fn an_input_of_root_is_owned_by_root() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", r#"{"user":"bob"}"#).await;
    let made = VolumeHandle::new("made");
    let mut writer = spec("writer", Image::Volume(image.clone()));
    writer.mounts = vec![output("out", &made)];
    machine.create(&writer).await;
    machine.ok("writer", "cd /tmp/build/1/out; busybox su bob -s /bin/sh -c 'echo 1 > file'").await;
    let mut reader = spec("reader", Image::Volume(image));
    reader.user = User::Named("root".into());
    let copy = Some(VolumeHandle::new("copy"));
    let copied = MountSource::Input { volume: made.clone(), copy };
    reader.mounts = vec![input("in", &made), Mount { path: "copied".into(), source: copied }];
    machine.create(&reader).await;
    let script = "cd /tmp/build/1; stat -c '%U' in in/file copied copied/file";
    assert_eq!(machine.ok("reader", script).await, "root\nbob\nroot\nbob");
    let script = "cd /tmp/build/1; stat -c '%U' out out/file";
    assert_eq!(machine.ok("writer", script).await, "bob\nbob");
}

#[tokio::test]
async fn volumes_belong_to_the_user() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", r#"{"user":"bob"}"#).await;
    let source = machine.volume("source", &[("dir/file", "1")]).await;
    let made = VolumeHandle::new("made");
    for (name, user, ids) in [
        ("image", User::Image, "1234 1235"),
        ("named", User::Named("bob".into()), "1234 1235"),
        ("numbers", User::Named("7:crew".into()), "7 77"),
        ("root", User::Named("root".into()), "0 0"),
    ] {
        let mut wanted = spec(name, Image::Volume(image.clone()));
        wanted.user = user;
        wanted.mounts = vec![
            input("in", &source),
            output("out", &made),
            cache("cache", &VolumeHandle::new(format!("cache-{name}"))),
        ];
        machine.create(&wanted).await;
        let owners = machine
            .ok(name, "cd /tmp/build/1; stat -c '%u %g' . in in/dir in/dir/file out cache")
            .await;
        let expected = if name == "root" { "0 0" } else { ids };
        let own: Vec<&str> = owners.lines().filter(|line| *line != expected).collect();
        // The shared output keeps its former owner for root, who may write it anyway.
        assert!(own.is_empty() || name == "root", "{name}: {owners}");
        machine.runtime().destroy(&handle(name)).await.unwrap();
    }
    let mut wanted = spec("nobody", Image::Volume(image.clone()));
    wanted.user = User::Named("mallory".into());
    let error = machine.runtime().create(&wanted).await.unwrap_err();
    assert!(matches!(&error, Error::Image(text) if text.contains("`mallory`")), "{error}");
    assert!(machine.runtime().list().await.unwrap().is_empty());
    // Who is not root cannot reach the runner's files.
    machine.create(&spec("runner", Image::Volume(image))).await;
    let script = "busybox su bob -s /bin/sh -c 'ls /.jetbridge || ls /proc/1/fd'";
    assert_ne!(machine.sh("runner", script).await.0, 0);
    assert_eq!(machine.ok("runner", "cat /.jetbridge/journal/started").await, "yes");
    assert_ne!(machine.sh("runner", "ls /.jetbridge/journal/../spec.json").await.0, 0);
    assert_ne!(machine.sh("runner", "echo > /.jetbridge/runner").await.0, 0);
}

/// Links in an image lead nowhere but into the image.
#[tokio::test]
async fn links_of_images_do_not_lead_out() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let mut builder = tar::Builder::new(Vec::new());
    for (path, target) in [
        ("rootfs/escape", "../../../../../../../.."),
        ("rootfs/absolute", "/"),
        ("rootfs/proc", "/etc"),
        ("rootfs/opt", "/../../tmp"),
        ("outside/rootfs", "/"),
    ] {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        builder.append_link(&mut header, path, target).unwrap();
    }
    let stream = Box::new(std::io::Cursor::new(builder.into_inner().unwrap()));
    machine.runtime().stream_in(&image, ".", stream).await.unwrap();
    let probe = format!("jb-escape-{}", std::process::id());
    let (one, two) = (VolumeHandle::new("one"), VolumeHandle::new("two"));
    let mut wanted = spec("links", Image::Volume(image));
    wanted.mounts = vec![
        output(&format!("/escape/{probe}"), &one),
        output(&format!("/absolute/tmp/{probe}"), &two),
    ];
    machine.create(&wanted).await;
    assert!(!std::path::Path::new("/").join(&probe).exists());
    assert!(!std::path::Path::new("/tmp").join(&probe).exists());
    machine.ok("links", &format!("echo 1 > /{probe}/f; echo 2 > /tmp/{probe}/f")).await;
    assert_eq!(machine.files(&one).await, [("f".to_owned(), "1\n".to_owned())]);
    assert_eq!(machine.files(&two).await, [("f".to_owned(), "2\n".to_owned())]);

    let hostile = VolumeHandle::new("hostile");
    machine.runtime().create_volume(&hostile).await.unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = header();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "rootfs", "/").unwrap();
    let stream = Box::new(std::io::Cursor::new(builder.into_inner().unwrap()));
    machine.runtime().stream_in(&hostile, ".", stream).await.unwrap();
    let error = machine.runtime().create(&spec("no", Image::Volume(hostile))).await.unwrap_err();
    assert!(matches!(&error, Error::Image(text) if text.contains("rootfs")), "{error}");
}

#[tokio::test]
async fn built_in_resource_types_are_at_opt_resource() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let names: Vec<String> =
        machine.runtime().base_types().into_iter().map(|base| base.name).collect();
    assert_eq!(names, ["git", "time", "registry-image", "mock"]);
    machine.create(&spec("git", Image::BaseType("git".into()))).await;
    assert_eq!(machine.ok("git", "/opt/resource/check").await, "check\ngit");
    assert_ne!(machine.sh("git", "echo x > /opt/resource/check").await.0, 0);
    let error = machine.runtime().create(&spec("no", Image::BaseType("nope".into()))).await;
    assert!(matches!(error, Err(Error::Image(_))));
}
