#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
const HYBRID_OWN: &str = "\
4:memory:/box/one
3:cpu,cpuacct:/
1:name=systemd:/user.slice/session-1.scope
0::/user.slice
";

fn find(mounts: &str, own: &str, root: bool) -> (Option<String>, Vec<(String, String)>) {
    let mounts = crate::mountinfo::parse(mounts.as_bytes());
    let (unified, split) = hierarchies(&mounts, own, "jb", root);
    let path = |h: Hierarchy| h.parent.display().to_string();
    let split = split.into_iter().map(|h| (h.controllers.clone(), path(h))).collect();
    (unified.map(path), split)
}

#[test]
fn both_versions_side_by_side() {
    let (unified, split) = find(HYBRID, HYBRID_OWN, true);
    assert_eq!(unified.unwrap(), "/sys/fs/cgroup/unified/jb");
    let expected = [
        ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/jb"),
        ("memory", "/sys/fs/cgroup/memory/box/one/jb"),
        ("name=systemd", "/sys/fs/cgroup/systemd/jb"),
    ];
    assert_eq!(split, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn version_2_alone() {
    let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let own = "0::/user.slice/user-1000.slice/app.scope\n";
    let (root, split) = find(mounts, own, true);
    assert_eq!((root.unwrap().as_str(), split.len()), ("/sys/fs/cgroup/jb", 0));
    let (rootless, _) = find(mounts, own, false);
    assert_eq!(rootless.unwrap(), "/sys/fs/cgroup/user.slice/user-1000.slice/app.scope/jb");
}

#[test]
fn shares_become_weights() {
    assert_eq!([2, 512, 1024, 262_144, 0].map(weight), [1, 20, 39, 10_000, 1]);
}

#[test]
fn limits_that_cannot_be_set_are_refused() {
    let memory = Limits { memory_bytes: Some(1), ..Limits::default() };
    let none = Cgroups::None("why".into());
    assert!(none.plan("c", memory).unwrap_err().contains("why"));
    assert_eq!(none.plan("c", Limits::default()), Ok(None));
    let hierarchy = Hierarchy { parent: "/cg".into(), controllers: "cpu".into() };
    let split = Cgroups::Split(vec![hierarchy]);
    assert!(split.plan("c", memory).unwrap_err().contains("memory controller"));
    assert_eq!(split.plan("c", Limits::default()), Ok(None));
    let cpu = Limits { cpu_shares: Some(512), ..Limits::default() };
    let plan = split.plan("c", cpu).unwrap().unwrap();
    assert_eq!(plan.groups[0].path, Path::new("/cg/c"));
    assert_eq!(settings(&plan.groups[0], cpu), [("cpu.shares", "512".to_owned(), true)]);
}
