//! Knowing a container's first process again, and ending it.

use std::fs;
use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal};

use crate::launch::Init;

/// How long the kernel may take to end a container's processes.
const KILL_SECONDS: i64 = 30;

/// Identifies a running process for good.
pub(crate) fn identify(pid: i32) -> io::Result<Init> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, started) = state_and_start(&stat)
        .ok_or_else(|| io::Error::other(format!("cannot parse /proc/{pid}/stat")))?;
    Ok(Init { pid, started, boot: boot_id()? })
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// State letter and start time of a line of `/proc/<pid>/stat`. The name in parentheses may
/// itself hold spaces and parentheses.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Whether the process is the same and has not ended.
pub(crate) fn is_alive(init: &Init) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", init.pid)) else { return false };
    let same = matches!(state_and_start(&stat), Some((state, started))
        if started == init.started && !matches!(state, 'Z' | 'X'));
    same && boot_id().is_ok_and(|boot| boot == init.boot)
}

/// Kills a container's first process, and with it everything in its process namespace, and waits
/// for the end.
pub(crate) fn kill(init: &Init) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(init.pid) else { return Ok(()) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Compared after opening: from now on the descriptor cannot mean another process.
    if is_alive(init) {
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: KILL_SECONDS, tv_nsec: 0 };
        loop {
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("process {} does not end though killed", init.pid),
                    ));
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    // Where the server itself is process 1 it inherits containers and has to collect them.
    rustix::process::waitpid(Some(pid), WaitOptions::NOHANG).ok();
    Ok(())
}

#[cfg(test)]
mod tests;
