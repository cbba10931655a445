//! Control groups of version 1, version 2, or both mounted side by side.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::launch::{CgroupDir, CgroupPlan, Limits};
use crate::mountinfo::MountPoint;

/// A mounted hierarchy and where our groups go in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Directory below which every container gets one.
    pub(crate) parent: PathBuf,
    /// Empty for version 2, else what it is mounted by, such as `cpu,cpuacct` or `name=systemd`.
    pub(crate) controllers: String,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|name| name == controller)
    }
}

/// What limits can be set by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// One version 2 hierarchy with these controllers.
    Unified { hierarchy: Hierarchy, controllers: Vec<String> },
    /// Version 1 hierarchies; a version 2 hierarchy beside them has no controllers.
    Split(Vec<Hierarchy>),
    /// Why there are none.
    None(String),
}

/// The hierarchies among `mounts`, and where this process is in them by `/proc/self/cgroup`.
///
/// Groups go below the server's own, so that what limits the server limits its containers too.
/// On version 2, where a group with processes cannot pass controllers on, root uses the top.
pub(crate) fn hierarchies(
    mounts: &[MountPoint],
    own: &str,
    name: &str,
    root: bool,
) -> (Option<Hierarchy>, Vec<Hierarchy>) {
    let mut unified = None;
    let mut split = Vec::new();
    for mount in mounts {
        let version2 = match mount.kind.as_str() {
            "cgroup2" => true,
            "cgroup" => false,
            _ => continue,
        };
        let controllers = if version2 {
            String::new()
        } else {
            let known = ["memory", "cpu", "cpuacct", "pids", "name=systemd"];
            let options = mount.super_options.split(',').filter(|option| known.contains(option));
            options.collect::<Vec<_>>().join(",")
        };
        if !version2 && controllers.is_empty() {
            continue;
        }
        let inside = own_group(own, &controllers)
            .and_then(|group| group.strip_prefix(mount.root.trim_end_matches('/')))
            .unwrap_or("");
        // Its name hierarchy is how systemd finds the processes of a unit to stop.
        let top = root && (version2 || controllers == "name=systemd");
        let parent = if top {
            mount.target.join(name)
        } else {
            mount.target.join(inside.trim_start_matches('/')).join(name)
        };
        let hierarchy = Hierarchy { parent, controllers };
        if version2 {
            unified.get_or_insert(hierarchy);
        } else if !split.contains(&hierarchy) {
            split.push(hierarchy);
        }
    }
    (unified, split)
}

/// The path `/proc/self/cgroup` gives for a hierarchy.
fn own_group<'a>(own: &'a str, controllers: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let same = if controllers.is_empty() {
            names.is_empty()
        } else {
            names.split(',').any(|name| controllers.split(',').any(|c| c == name))
        };
        same.then_some(path)
    })
}

/// Version 2's weight for version 1's shares, as container runtimes convert them.
pub(crate) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

impl Cgroups {
    /// Finds out what can be used. On version 2 this makes our parent group.
    pub(crate) fn detect(name: &str) -> Self {
        let root = crate::privilege::is_root();
        let mounts = match crate::mountinfo::read() {
            Ok(mounts) => mounts,
            Err(error) => return Self::None(format!("cannot read the mounts: {error}")),
        };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let (unified, split) = hierarchies(&mounts, &own, name, root);
        // The groups themselves are made with the first container that needs them.
        let usable: Vec<Hierarchy> =
            split.into_iter().filter(|h| h.parent.parent().is_some_and(is_writable)).collect();
        if usable.iter().any(|h| h.has("memory") || h.has("cpu")) {
            return Self::Split(usable);
        }
        let Some(hierarchy) = unified else {
            return Self::None("no control groups are mounted at /sys/fs/cgroup".into());
        };
        match prepare_unified(&hierarchy) {
            Ok(controllers) if !controllers.is_empty() => Self::Unified { hierarchy, controllers },
            Ok(_) => Self::None(
                "no controllers are delegated to this user; run the server in a unit with \
                 `Delegate=yes`"
                    .into(),
            ),
            Err(error) => Self::None(format!(
                "cannot use `{}`: {error}; run the server in a unit with `Delegate=yes`",
                hierarchy.parent.display()
            )),
        }
    }

    /// The groups for one container, none when it needs none.
    pub(crate) fn plan(
        &self,
        container: &str,
        limits: Limits,
    ) -> Result<Option<CgroupPlan>, String> {
        let missing = |what: &str, why: &str| {
            Err(format!("cannot limit the container's {what} on this machine: {why}"))
        };
        match self {
            Self::None(why) => {
                if limits.memory_bytes.is_some() || limits.cpu_shares.is_some() {
                    return missing("memory or cpu", why);
                }
                Ok(None)
            }
            Self::Unified { hierarchy, controllers } => {
                let has = |name: &str| controllers.iter().any(|c| c == name);
                if limits.memory_bytes.is_some() && !has("memory") {
                    return missing("memory", "the memory controller is not delegated");
                }
                if limits.cpu_shares.is_some() && !has("cpu") {
                    return missing("cpu", "the cpu controller is not delegated");
                }
                let path = hierarchy.parent.join(container);
                let groups = vec![CgroupDir { path, controllers: String::new() }];
                Ok(Some(CgroupPlan { groups, limits }))
            }
            Self::Split(hierarchies) => {
                // Entering a version 1 group costs the kernel a grace period of several
                // milliseconds, so it is done only for a limit.
                if !limits.any() {
                    return Ok(None);
                }
                let has = |name: &str| hierarchies.iter().any(|h| h.has(name));
                if limits.memory_bytes.is_some() && !has("memory") {
                    return missing("memory", "the memory controller is not mounted");
                }
                if limits.cpu_shares.is_some() && !has("cpu") {
                    return missing("cpu", "the cpu controller is not mounted");
                }
                let groups = hierarchies
                    .iter()
                    .map(|h| CgroupDir {
                        path: h.parent.join(container),
                        controllers: h.controllers.clone(),
                    })
                    .collect();
                Ok(Some(CgroupPlan { groups, limits }))
            }
        }
    }

    /// Parents of all containers' groups.
    pub(crate) fn parents(&self) -> Vec<PathBuf> {
        match self {
            Self::Unified { hierarchy, .. } => vec![hierarchy.parent.clone()],
            Self::Split(hierarchies) => hierarchies.iter().map(|h| h.parent.clone()).collect(),
            Self::None(_) => Vec::new(),
        }
    }
}

fn is_writable(directory: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, directory, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Makes the parent group and passes memory, cpu and pids on to its children.
fn prepare_unified(hierarchy: &Hierarchy) -> io::Result<Vec<String>> {
    let parent = &hierarchy.parent;
    let above = parent.parent().unwrap_or(parent);
    let wanted = ["memory", "cpu", "pids"];
    let available = fs::read_to_string(above.join("cgroup.controllers"))?;
    let wanted: Vec<&str> = wanted
        .into_iter()
        .filter(|name| available.split_whitespace().any(|c| c == *name))
        .collect();
    fs::create_dir_all(parent)?;
    if enable(above, &wanted).is_err() {
        // Processes in the group itself forbid it: move them, ourselves included, to one beside.
        let aside = above.join("jetbridge-server");
        fs::create_dir_all(&aside)?;
        for pid in fs::read_to_string(above.join("cgroup.procs"))?.lines() {
            if fs::write(aside.join("cgroup.procs"), pid).is_err() {
                tracing::debug!(pid, "cannot move a process out of the delegated control group");
            }
        }
        enable(above, &wanted)?;
    }
    enable(parent, &wanted)?;
    Ok(wanted.into_iter().map(str::to_owned).collect())
}

fn enable(group: &Path, controllers: &[&str]) -> io::Result<()> {
    let enabled = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    for name in controllers {
        if !enabled.split_whitespace().any(|c| c == *name) {
            fs::write(group.join("cgroup.subtree_control"), format!("+{name}"))?;
        }
    }
    Ok(())
}

/// What to write where for a container's limits, with whether it must succeed.
fn settings(group: &CgroupDir, limits: Limits) -> Vec<(&'static str, String, bool)> {
    let mut writes = Vec::new();
    let version2 = group.controllers.is_empty();
    let has = |name: &str| version2 || group.controllers.split(',').any(|c| c == name);
    if let Some(bytes) = limits.memory_bytes.filter(|_| has("memory")) {
        if version2 {
            writes.push(("memory.max", bytes.to_string(), true));
            // Absent where swap is not accounted.
            writes.push(("memory.swap.max", "0".into(), false));
        } else {
            writes.push(("memory.limit_in_bytes", bytes.to_string(), true));
            writes.push(("memory.memsw.limit_in_bytes", bytes.to_string(), false));
        }
    }
    if let Some(shares) = limits.cpu_shares.filter(|_| has("cpu")) {
        if version2 {
            writes.push(("cpu.weight", weight(shares).to_string(), true));
        } else {
            writes.push(("cpu.shares", shares.clamp(2, 262_144).to_string(), true));
        }
    }
    if let Some(pids) = limits.pids.filter(|_| has("pids")) {
        writes.push(("pids.max", pids.to_string(), true));
    }
    writes
}

/// Makes a container's groups, sets their limits and moves process `pid` into them.
pub(crate) fn enter(plan: &CgroupPlan, pid: i32) -> io::Result<()> {
    let explain = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
    };
    for group in &plan.groups {
        fs::create_dir_all(&group.path).map_err(|error| explain(&group.path, error))?;
        for (file, value, required) in settings(group, plan.limits) {
            let path = group.path.join(file);
            match fs::write(&path, value) {
                Err(error) if required => return Err(explain(&path, error)),
                _ => {}
            }
        }
        let path = group.path.join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(|error| explain(&path, error))?;
    }
    Ok(())
}

/// Ends every process in a container's groups, and those in groups it made below.
pub(crate) fn kill_all(plan: &CgroupPlan) {
    for group in &plan.groups {
        if fs::write(group.path.join("cgroup.kill"), "1").is_ok() {
            continue;
        }
        // Version 1 cannot kill at once; new processes may appear while the list is read.
        for _ in 0..20 {
            let pids = processes(&group.path);
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                // Fails only for a process that has ended.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
    }
}

fn processes(group: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for child in children(group) {
        pids.extend(processes(&child));
    }
    pids
}

fn children(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a container's groups. Their processes have been killed, but the kernel may need a
/// moment to let go of them.
pub(crate) fn remove(plan: &CgroupPlan) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    for group in &plan.groups {
        remove_group(&group.path, deadline)?;
    }
    Ok(())
}

fn remove_group(group: &Path, deadline: Instant) -> io::Result<()> {
    for child in children(group) {
        remove_group(&child, deadline)?;
    }
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
