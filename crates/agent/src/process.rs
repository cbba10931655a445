//! Processes that belong together.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::Child;

/// How often processes are looked for that those which were ended left behind.
const ROUNDS_MAX: usize = 1_000;

/// The processes of a program, ended with whoever follows it.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// That of a program that was started as the first of a group of its own.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nothing of it is left when all is well.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// How a program ended, as the end of a sentence.
pub(crate) fn how_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Makes this process the parent of whatever its children leave behind, so that [`end_children`] finds it.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn adopt_orphans() -> Result<(), String> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| format!("become the parent of orphans: {error}"))
}

/// Ends all children of this process, and in turn what they leave to it, whatever group or session it is in.
pub(crate) fn end_children() {
    for _ in 0..ROUNDS_MAX {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in &children {
            // Who is gone already is waited for all the same.
            let _ = rustix::process::kill_process(*child, Signal::KILL);
        }
        for child in children {
            let wait = || rustix::process::waitpid(Some(child), WaitOptions::empty());
            while wait().is_err_and(|error| error == Errno::INTR) {}
        }
    }
}

/// The processes whose parent this one is.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let pid = Pid::from_raw(name.to_str()?.parse().ok()?)?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before it is in parentheses and may have any character.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        (Pid::from_raw(parent.parse().ok()?)? == own).then_some(pid)
    });
    pids.collect()
}
