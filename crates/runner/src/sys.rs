//! System calls that have no safe wrapper.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Every signal that is asked for arrives through this descriptor instead of interrupting.
pub(crate) struct Signals {
    fd: OwnedFd,
}

/// The signals the runner itself reacts to.
const WATCHED: [i32; 4] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

impl Signals {
    /// Blocks the watched signals and opens the descriptor they arrive at. SIGHUP and the rest keep
    /// their defaults, which process 1 does not feel.
    #[expect(unsafe_code, reason = "signal sets and signalfd have no safe wrapper")]
    pub(crate) fn watch() -> io::Result<Self> {
        // SAFETY: the set is initialised by sigemptyset before it is used, and the descriptor is
        // owned by nobody else.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            for signal in WATCHED {
                libc::sigaddset(&raw mut set, signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let fd = check(libc::signalfd(-1, &raw const set, flags))?;
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The next signal that arrived.
    pub(crate) fn next(&self) -> Option<i32> {
        let mut info = [0_u8; std::mem::size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut info) {
            // The number is the first field.
            Ok(n) if n == info.len() => {
                Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
            }
            _ => None,
        }
    }
}

/// A child that ended and how: its number, its exit code, the signal that ended it or 0.
#[expect(unsafe_code, reason = "the wait status comes from a raw waitpid")]
pub(crate) fn reap() -> Option<(i32, i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            ..=0 => return None,
            _ if libc::WIFSIGNALED(status) => {
                let signal = libc::WTERMSIG(status);
                return Some((pid, 128 + signal, signal));
            }
            _ => return Some((pid, libc::WEXITSTATUS(status), 0)),
        }
    }
}

/// Sends a signal to a process, to a group (negative) or to everything (-1).
#[expect(unsafe_code, reason = "the safe wrapper refuses numbers that have no name")]
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Lets orphans of this container come here to be reaped when the runner is not process 1.
#[expect(unsafe_code, reason = "prctl has no safe wrapper for this on all kernels")]
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Takes over an inherited descriptor, which processes shall not inherit in turn.
#[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
pub(crate) fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fails for a closed descriptor; the number comes from whoever started this process to
    // hand over exactly this one.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The user at the other end of a Unix socket. The safe wrapper does not take a peer of another
/// process namespace, whose process number is 0.
#[expect(unsafe_code, reason = "getsockopt into a plain struct")]
pub(crate) fn peer_uid(socket: &OwnedFd) -> Option<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let size = std::mem::size_of::<libc::ucred>();
    let mut length = libc::socklen_t::try_from(size).ok()?;
    // SAFETY: the struct and its length outlive the call and agree.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == size).then_some(peer.uid)
}

/// Asks for a larger pipe; the usual size does when refused.
#[expect(unsafe_code, reason = "fcntl has no safe wrapper for this")]
pub(crate) fn widen_pipe(fd: &OwnedFd, bytes: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
