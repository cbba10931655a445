//! Stops a cluster and removes what it has left on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::mount::{UnmountFlags, unmount};

use crate::cluster::place::Place;
use crate::cluster::{processes, wires};

/// Where the library that calls network plugins keeps their results.
const PLUGIN_RESULTS: &str = "/var/lib/cni/results";

pub(crate) fn down(place: &Place) -> anyhow::Result<()> {
    // All their state goes, so none needs to end in order. Components first: they would start containers again.
    processes::kill_all("components", || processes::in_namespace(place))?;
    processes::kill_all("processes of containers", || processes::in_containers(place))?;
    unmount_below(&place.dir)?;
    wires::remove(place);
    remove_plugin_results(place);
    remove_control_groups(place);
    if place.dir.exists() {
        fs::remove_dir_all(&place.dir)
            .with_context(|| format!("remove {}", place.dir.display()))?;
    }
    Ok(())
}

fn unmount_below(dir: &Path) -> anyhow::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the table of mounts")?;
    for point in mounts_below(&table, dir).into_iter().rev() {
        // One that is gone with the one above it is no loss.
        let _ = unmount(&point, UnmountFlags::DETACH);
    }
    Ok(())
}

/// The mount points below a directory in the order in which they were mounted.
fn mounts_below(table: &str, dir: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(unescaped).filter(|point| point.starts_with(dir)).collect()
}

/// The kernel writes a blank, tab, line feed or backslash of a path as a backslash and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(escape, character);
    }
    PathBuf::from(path)
}

fn remove_plugin_results(place: &Place) {
    let names: Vec<String> = fs::read_dir(PLUGIN_RESULTS)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    for name in results_of(&names, &place.pod_network()) {
        let _ = fs::remove_file(Path::new(PLUGIN_RESULTS).join(name));
    }
}

/// The results of a network's pods: `NETWORK-POD-INTERFACE`, and those of the same pods' loopback interfaces, which
/// no name tells from other clusters'.
fn results_of<'a>(names: &'a [String], network: &str) -> Vec<&'a String> {
    let prefix = format!("{network}-");
    let own = names.iter().filter_map(|name| name.strip_prefix(&prefix));
    let pods: Vec<&str> = own.filter_map(|rest| rest.split('-').next()).collect();
    let is_own = |name: &&String| {
        name.starts_with(&prefix) || pods.iter().any(|pod| name.contains(&format!("-{pod}-")))
    };
    names.iter().filter(is_own).collect()
}

/// The root of every hierarchy of control groups: one, or one per controller and the unified one.
pub(crate) fn cgroup_roots() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    roots_in(&table)
}

fn roots_in(table: &str) -> Vec<PathBuf> {
    let lines = table
        .lines()
        .filter(|line| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("cgroup")));
    lines.filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect()
}

fn remove_control_groups(place: &Place) {
    for root in cgroup_roots() {
        remove_group(&root.join(place.cgroup()));
    }
}

/// A group goes once those below it have gone; its files go with it.
fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
23 28 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs rw,mode=755
24 23 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
25 23 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
40 28 0:40 / /var/tmp/one/containerd\\040state rw - tmpfs tmpfs rw
41 40 0:41 / /var/tmp/one/containerd\\040state/rootfs rw - overlay overlay rw
42 28 0:42 / /var/tmp/one-more rw - tmpfs tmpfs rw
";

    #[test]
    fn mounts_of_another_cluster_are_left_alone() {
        assert_eq!(
            mounts_below(TABLE, Path::new("/var/tmp/one")),
            [
                PathBuf::from("/var/tmp/one/containerd state"),
                PathBuf::from("/var/tmp/one/containerd state/rootfs"),
            ]
        );
    }

    #[test]
    fn results_of_other_clusters_stay() {
        let names = [
            "jetbridge-1-aa-eth0",
            "cni-loopback-aa-lo",
            "jetbridge-2-bb-eth0",
            "cni-loopback-bb-lo",
        ];
        let names = names.map(str::to_owned);
        assert_eq!(
            results_of(&names, "jetbridge-1"),
            ["jetbridge-1-aa-eth0", "cni-loopback-aa-lo"]
        );
    }

    #[test]
    fn every_hierarchy_of_control_groups_is_found() {
        assert_eq!(
            roots_in(TABLE),
            [PathBuf::from("/sys/fs/cgroup/unified"), PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")]
        );
    }
}
