//! Processes that belong together.

use rustix::process::{Pid, Signal};
use tokio::process::Child;

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
