//! The same runtime for a user without privileges.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use jb_model::VolumeHandle;
use jb_runtime::{Error, Image, Network, Runtime};

use crate::machine::{Machine, cache, handle, input, output, root, runner, spec};

/// A user id that nobody has.
const USER: u32 = 54_321;

/// Runs the test below as another user.
#[test]
fn works_without_root() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(dir.path(), Some(USER), Some(USER)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rootless::inner", "--ignored", "--nocapture"])
        .env("JB_TEST_DIR", dir.path())
        .env("JB_TEST_RUNNER", runner())
        .env("HOME", "/nonexistent")
        .uid(USER)
        .gid(USER)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run as another user by `works_without_root`"]
async fn inner() {
    if rustix::process::geteuid().as_raw() != USER {
        return;
    }
    let mut machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let source = machine.volume("source", &[("a", "1"), ("dir/b", "2")]).await;
    let made = VolumeHandle::new("made");
    for (name, image, network) in [
        ("host", Image::Host, Network::Outbound),
        ("image", Image::Volume(image.clone()), Network::Outbound),
        ("alone", Image::Volume(image.clone()), Network::Hermetic),
    ] {
        let mut wanted = spec(name, image);
        wanted.network = network;
        wanted.mounts = vec![
            input("in", &source),
            output("out", &made),
            cache("in/dir/cache", &VolumeHandle::new("cache")),
        ];
        machine.create(&wanted).await;
        let script = "id -u; cd /tmp/build/1; cat in/a in/dir/b; rm -r in/a; echo x > in/dir/n; \
            echo made > out/f; echo > in/dir/cache/c; ls /etc/shadow /home/* 2>/dev/null; true";
        assert_eq!(machine.ok(name, script).await, "0\n12");
    }
    assert_ne!(machine.sh("image", "mount -t tmpfs none /bin").await.0, 0);
    assert_eq!(machine.ok("alone", "ip route").await, "");
    machine.restart();
    assert_eq!(machine.runtime().list().await.unwrap().len(), 3);
    for name in ["host", "image", "alone"] {
        machine.ok(name, "cat /proc/1/status | grep NSpid || busybox true").await;
        machine.runtime().destroy(&handle(name)).await.unwrap();
    }
    assert_eq!(machine.files(&made).await, [("f".to_owned(), "made\n".to_owned())]);
    with_subordinate_ids(&machine, &image, &source).await;
    let mut wanted = spec("limited", Image::Host);
    wanted.limits.memory_bytes = Some(64 << 20);
    let refused = machine.runtime().create(&wanted).await;
    assert!(
        matches!(&refused, Err(Error::Unsupported(why)) if why.contains("Delegate=yes")
        || why.contains("control groups")),
        "{refused:?}"
    );
    let state = machine.state();
    machine.runtime().release().unwrap();
    assert_eq!(std::fs::read_dir(state.join("trash")).unwrap().count(), 0);
}

/// Where the machine gives this user more ids, containers have users, and what those own can be
/// removed.
async fn with_subordinate_ids(machine: &Machine, image: &VolumeHandle, source: &VolumeHandle) {
    let text = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let names = std::fs::read_to_string("/etc/passwd").unwrap();
    let name = names.lines().find(|line| line.split(':').nth(2) == Some(&USER.to_string()));
    let name = name.and_then(|line| line.split(':').next()).unwrap_or("-");
    let given = text.lines().any(|line| line.split(':').next() == Some(name));
    if !given || !std::path::Path::new("/usr/bin/newuidmap").exists() {
        eprintln!("SKIPPED: user {USER} has no subordinate ids");
        return;
    }
    let mut wanted = spec("users", Image::Volume(image.clone()));
    wanted.user = jb_runtime::User::Named("bob".into());
    wanted.mounts = vec![input("in", source)];
    machine.create(&wanted).await;
    let script = "cd /tmp/build/1; stat -c '%u %g' in/a .; mkdir -m 700 in/d; echo x > in/d/f; \
        busybox chown -R 7:7 in/d";
    assert_eq!(machine.ok("users", script).await, "1234 1235\n1234 1235");
    machine.runtime().destroy(&handle("users")).await.unwrap();
}
