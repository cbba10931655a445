//! Between fork and execution.
//!
//! The runner has one thread, so the child may do anything here that the parent could.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::capability;

/// Everything the child needs, prepared before the fork.
pub(super) struct Program {
    /// Files to execute, the first that exists.
    pub(super) candidates: Vec<CString>,
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Vec<CString>,
    pub(super) dir: CString,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) privileged: bool,
}

/// What the child was at when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Stdio = 1,
    Capabilities,
    Directory,
    User,
    Execute,
}

/// What the child reported: its stage and the error's number.
pub(super) fn parse_failure(report: &[u8]) -> Option<(Stage, i32)> {
    let (stage, errno) = report.split_first()?;
    let stage = match stage {
        1 => Stage::Stdio,
        2 => Stage::Capabilities,
        3 => Stage::Directory,
        4 => Stage::User,
        _ => Stage::Execute,
    };
    Some((stage, i32::from_ne_bytes(errno.try_into().ok()?)))
}

/// Forks and, in the child, executes the program. `files` become its stdin, stdout and stderr, and
/// its terminal when `tty`; a failure is written to `report`, which execution closes.
#[expect(unsafe_code, reason = "fork, and what only a child may do")]
pub(super) fn fork(
    program: &Program,
    files: [RawFd; 3],
    tty: bool,
    report: &OwnedFd,
) -> io::Result<i32> {
    let arguments = pointers(&program.arguments);
    let environment = pointers(&program.environment);
    // SAFETY: this process has a single thread, so the child's memory is consistent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let (stage, errno) = run(program, &arguments, &environment, files, tty);
            let mut failure = [stage as u8, 0, 0, 0, 0];
            failure[1..].copy_from_slice(&errno.to_ne_bytes());
            // SAFETY: the buffer outlives the call; `_exit` runs nothing of the parent's.
            unsafe {
                libc::write(report.as_raw_fd(), failure.as_ptr().cast(), failure.len());
                libc::_exit(127)
            }
        }
        pid => Ok(pid),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Returns only when something failed.
fn run(
    program: &Program,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    files: [RawFd; 3],
    tty: bool,
) -> (Stage, i32) {
    if let Err(error) = set_up_stdio(files, tty).and_then(|()| reset_signals()) {
        return (Stage::Stdio, errno(&error));
    }
    if !program.privileged
        && let Err(error) = capability::limit()
    {
        return (Stage::Capabilities, errno(&error));
    }
    // A directory may be closed to the user, or, on a network file system, to root.
    let entered = enter(program);
    if let Err(error) = become_user(program) {
        return (Stage::User, errno(&error));
    }
    if entered.is_err()
        && let Err(error) = enter(program)
    {
        return (Stage::Directory, errno(&error));
    }
    (Stage::Execute, execute(program, arguments, environment))
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "descriptors 0 to 2 are replaced under their numbers")]
fn set_up_stdio(files: [RawFd; 3], tty: bool) -> io::Result<()> {
    // SAFETY: no call takes a pointer to memory; the runner keeps 0 to 2 open, so none of `files`
    // is among them.
    unsafe {
        check(libc::setsid())?;
        if tty {
            check(libc::ioctl(files[0], libc::TIOCSCTTY, 0))?;
        }
        for (target, file) in (0..).zip(files) {
            check(libc::dup2(file, target))?;
        }
        // Everything the runner opens closes on execution; this also covers what it inherited.
        // Kernels before 5.11 do not know it.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        libc::umask(0o022);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "signal dispositions and masks have no safe wrapper")]
fn reset_signals() -> io::Result<()> {
    // The kernel's own structure: all zero is the default action, no flags and an empty mask. The
    // C library's function refuses the two signals it keeps for itself, which may be ignored too.
    let default = [0_u64; 4];
    let mask_bytes = 8_usize;
    // SAFETY: the structure and the set are initialised and outlive the calls; no handler is
    // installed.
    unsafe {
        for signal in 1..=64 {
            // Fails for SIGKILL and SIGSTOP, which cannot be changed.
            let none = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, mask_bytes);
        }
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()))
    }
}

#[expect(unsafe_code, reason = "chdir with a prepared string")]
fn enter(program: &Program) -> io::Result<()> {
    // SAFETY: the string is NUL-terminated and outlives the call.
    check(unsafe { libc::chdir(program.dir.as_ptr()) })
}

#[expect(unsafe_code, reason = "changes the user of the whole process, which has one thread")]
fn become_user(program: &Program) -> io::Result<()> {
    // SAFETY: the groups outlive the call that reads them; the others take no pointers.
    unsafe {
        let (uid, gid) = (libc::geteuid(), libc::getegid());
        let groups = libc::setgroups(program.groups.len(), program.groups.as_ptr());
        if let Err(error) = check(groups) {
            // In a user namespace of one user groups cannot be set, nor need be.
            if uid != program.uid || error.raw_os_error() != Some(libc::EPERM) {
                return Err(error);
            }
        }
        if gid != program.gid {
            check(libc::setgid(program.gid))?;
        }
        if uid != program.uid {
            check(libc::setuid(program.uid))?;
        }
    }
    Ok(())
}

/// Tries each candidate; returns the error that says most.
#[expect(unsafe_code, reason = "execve")]
fn execute(
    program: &Program,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> i32 {
    let mut worst = libc::ENOENT;
    for file in &program.candidates {
        // SAFETY: both lists end with a null pointer and their strings outlive the call.
        unsafe { libc::execve(file.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        match errno(&io::Error::last_os_error()) {
            libc::ENOENT | libc::ENOTDIR => {}
            // A later directory of the path may have one that can be executed.
            libc::EACCES => worst = libc::EACCES,
            other => return other,
        }
    }
    worst
}
