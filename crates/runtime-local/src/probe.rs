//! What this machine offers to containers, for `jetbridge doctor`.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

use crate::cgroup::Cgroups;
use crate::network::tool;

/// How one capability stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Containers run, but with less.
    Reduced,
    /// Containers do not run.
    Missing,
}

/// One capability of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub standing: Standing,
    /// What was found and, unless it is good, what to do about it.
    pub detail: String,
}

/// What this machine offers to containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether containers can run at all.
    pub fn usable(&self) -> bool {
        self.checks.iter().all(|check| check.standing != Standing::Missing)
    }
}

pub(crate) fn probe(state_dir: &Path) -> Report {
    Report { checks: vec![privilege(), overlay(state_dir), cgroups(), network(), tools()] }
}

fn check(name: &'static str, standing: Standing, detail: impl Into<String>) -> Check {
    Check { name, standing, detail: detail.into() }
}

fn privilege() -> Check {
    const NAME: &str = "privilege";
    if crate::privilege::is_root() {
        return check(NAME, Standing::Good, "running as root");
    }
    if !user_namespaces() {
        return check(NAME, Standing::Missing, crate::userns::refusal());
    }
    let maps = crate::userns::id_maps();
    if maps.helpers {
        return check(NAME, Standing::Good, "rootless, with subordinate ids");
    }
    check(
        NAME,
        Standing::Reduced,
        "rootless with a single id: containers have no user but root; for more, install \
         `newuidmap` and `newgidmap` (package uidmap) and add ranges for this user to /etc/subuid \
         and /etc/subgid",
    )
}

/// Tries in a process of its own, as a user namespace cannot be left again.
fn user_namespaces() -> bool {
    let Some(unshare) = tool("unshare") else { return true };
    std::process::Command::new(unshare)
        .args(["--user", "--map-root-user", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn overlay(state_dir: &Path) -> Check {
    const NAME: &str = "overlay";
    let known = std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.trim_end().ends_with("\toverlay")));
    let on_overlay = crate::mountinfo::read().ok().and_then(|mounts| {
        let path = state_dir.canonicalize().ok()?;
        let nearest = mounts.into_iter().rfind(|mount| path.starts_with(&mount.target))?;
        Some(nearest.kind)
    });
    if let Some(kind) = on_overlay.filter(|kind| ["overlay", "nfs", "nfs4"].contains(&&**kind)) {
        return check(
            NAME,
            Standing::Missing,
            format!(
                "the state directory is on {kind}, which cannot hold the writable part of an \
                 overlay; put it on a local disk or volume"
            ),
        );
    }
    if !crate::privilege::is_root() {
        let detail = "not tried, as this needs a namespace";
        return check(NAME, if known { Standing::Good } else { Standing::Reduced }, detail);
    }
    match try_overlay(state_dir) {
        Ok(()) => check(NAME, Standing::Good, "mounted and removed one"),
        Err(error) => check(
            NAME,
            Standing::Missing,
            format!("cannot mount an overlay in `{}`: {error}", state_dir.display()),
        ),
    }
}

fn try_overlay(state_dir: &Path) -> std::io::Result<()> {
    let base = state_dir.join(format!("probe-{}", std::process::id()));
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir_all(base.join(name))?;
    }
    let path = |name: &str| base.join(name).display().to_string();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    let options = std::ffi::CString::new(options)?;
    let target = base.join("merged");
    let flags = MountFlags::NODEV;
    let result = rustix::mount::mount("overlay", &target, "overlay", flags, Some(&*options));
    if result.is_ok() {
        rustix::mount::unmount(&target, UnmountFlags::DETACH)?;
    }
    std::fs::remove_dir_all(&base)?;
    Ok(result?)
}

fn cgroups() -> Check {
    const NAME: &str = "limits";
    match Cgroups::detect("jetbridge-probe") {
        Cgroups::None(why) => {
            check(NAME, Standing::Reduced, format!("limits on memory and cpu are refused: {why}"))
        }
        found => {
            for parent in found.parents() {
                // Left in place only when another probe uses it at this moment.
                std::fs::remove_dir(parent).ok();
            }
            let version = if matches!(found, Cgroups::Split(_)) { 1 } else { 2 };
            check(NAME, Standing::Good, format!("control groups of version {version}"))
        }
    }
}

fn network() -> Check {
    const NAME: &str = "network";
    let shared = "containers share the host's network";
    if !crate::privilege::is_root() {
        return check(NAME, Standing::Reduced, format!("{shared}: making a bridge needs root"));
    }
    match ["iptables", "nft"].into_iter().find(|name| tool(name).is_some()) {
        Some(name) => check(NAME, Standing::Good, format!("bridge, address translation by {name}")),
        None => check(
            NAME,
            Standing::Reduced,
            format!("{shared}: neither `iptables` nor `nft` is installed; install one of them"),
        ),
    }
}

fn tools() -> Check {
    const NAME: &str = "git";
    match tool("git") {
        Some(path) => check(NAME, Standing::Good, path.display().to_string()),
        None => check(
            NAME,
            Standing::Reduced,
            "the git resource type needs `git` on this machine; install it",
        ),
    }
}
