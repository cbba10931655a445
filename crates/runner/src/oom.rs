//! How often the kernel killed for memory in this container's cgroup.

use std::path::PathBuf;

#[cfg(test)]
mod tests;

/// The files that count kills, of whichever cgroup version is there.
pub(crate) struct OomCounter {
    files: Vec<PathBuf>,
}

impl OomCounter {
    pub(crate) fn find() -> Self {
        let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self { files: candidates(&cgroups).into_iter().filter(|file| file.exists()).collect() }
    }

    /// Kills so far; 0 when nothing counts them.
    pub(crate) fn kills(&self) -> u64 {
        self.files
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .map(|text| parse_kills(&text))
            .max()
            .unwrap_or(0)
    }
}

/// Where the counts may be, given `/proc/self/cgroup`. Inside a cgroup namespace the paths there
/// start at the mount; outside of one, or with the host's view, they are below it.
fn candidates(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
                files.push(PathBuf::from(root).join(path).join("memory.events"));
            }
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = PathBuf::from("/sys/fs/cgroup").join(controllers);
            files.push(root.join(path).join("memory.oom_control"));
            files.push(root.join("memory.oom_control"));
        }
    }
    files
}

/// The `oom_kill` line of `memory.events` or `memory.oom_control`.
fn parse_kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}
