#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn both_versions_of_cgroups_are_found() {
    let hybrid = "5:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/docker/x\n";
    let expected = [
        "/sys/fs/cgroup/memory/docker/x/memory.oom_control",
        "/sys/fs/cgroup/memory/memory.oom_control",
        "/sys/fs/cgroup/docker/x/memory.events",
        "/sys/fs/cgroup/unified/docker/x/memory.events",
    ];
    assert_eq!(candidates(hybrid), expected.map(PathBuf::from));
    assert_eq!(candidates("nonsense"), Vec::<PathBuf>::new());
}

#[test]
fn kills_are_read_from_either_file() {
    assert_eq!(parse_kills("low 0\noom 2\noom_kill 3\noom_group_kill 0\n"), 3);
    assert_eq!(parse_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
    assert_eq!(parse_kills(""), 0);
}
