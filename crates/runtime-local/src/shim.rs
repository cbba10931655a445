//! The process that makes a container and becomes its parent for a moment.
//!
//! The server executes it anew for every container, so it has one thread and can use namespaces
//! freely. It clones the container's first process, plugs in its network and control groups from
//! outside while that one builds its file system, and exits once the runner runs. The container
//! then belongs to nobody but the machine's first process, so it outlives the server.

mod child;
mod devices;
mod mounts;
mod rootfs;
mod security;
mod users;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::launch::{Attempt, Failure, IdMaps, Init, Launch, NetworkPlan, Outcome};
use crate::netlink::{Netlink, Veth, interface_index};

/// Sent to the child when its ids are mapped, and when network and control groups are there.
const MAPPED: u8 = b'm';
const GO: u8 = b'g';

/// Runs the shim with the arguments after its prefix in `Settings::shim`; returns the exit code.
///
/// Must be called before the process starts a second thread.
pub fn shim_main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let outcome = match arguments.as_slice() {
        [verb, dir] if verb == "run" => match run(Path::new(dir)) {
            Ok(init) => Outcome::Running(init),
            Err(failure) => Outcome::Failed(failure),
        },
        [verb, maps, path] if verb == "remove" => {
            return match remove(maps, Path::new(path)) {
                Ok(()) => 0,
                Err(_) => 1,
            };
        }
        _ => Outcome::Failed(Failure::unsupported(
            "the shim is started by the server only: `run DIRECTORY` or `remove MAPS PATH`",
        )),
    };
    let failed = matches!(outcome, Outcome::Failed(_));
    let Ok(text) = serde_json::to_vec(&outcome) else { return 2 };
    // A server that died meanwhile finds the container by its `init.json`.
    io::stdout().write_all(&text).ok();
    i32::from(failed)
}

fn run(dir: &Path) -> Result<Init, Failure> {
    let launch: Launch = crate::store::read_json(&dir.join("spec.json"))
        .attempt(|| format!("cannot read `{}/spec.json`", dir.display()))?;
    // Held until the end, so that a new server can wait for a container in the making.
    let lock = std::fs::File::create(dir.join("shim.lock")).attempt(|| "cannot make the lock")?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).attempt(|| "cannot lock")?;
    // A session of its own: the server's terminal is not this one's.
    rustix::process::setsid().ok();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // The server may be protected from the kernel's out-of-memory killer; its containers are not.
    std::fs::write("/proc/self/oom_score_adj", "0").ok();

    let socket = listen(dir).attempt(|| "cannot make the runner's socket")?;
    let (to_child_read, to_child) = pipe()?;
    let (from_child, from_child_write) = pipe()?;
    // In the host's network namespace, also for the configuration that follows the clone.
    let pid = clone(namespaces(&launch)).attempt(|| clone_failure(&launch))?;
    if pid == 0 {
        drop((to_child, from_child, lock));
        let failure = child::run(&launch, &socket, std::fs::File::from(to_child_read));
        if let Ok(text) = serde_json::to_vec(&failure) {
            std::fs::File::from(from_child_write).write_all(&text).ok();
        }
        exit_now(1);
    }
    drop((to_child_read, from_child_write));
    let result = attend(&launch, pid, to_child.into(), from_child.into());
    match result.and_then(|()| {
        let init = crate::process::identify(pid).attempt(|| "the runner ended at once")?;
        crate::store::write_json(&dir.join("init.json"), &init)
            .attempt(|| "cannot record the container")?;
        Ok(init)
    }) {
        Ok(init) => Ok(init),
        Err(failure) => {
            if let Some(pid) = Pid::from_raw(pid) {
                rustix::process::kill_process(pid, Signal::KILL).ok();
                rustix::process::waitpid(Some(pid), WaitOptions::empty()).ok();
            }
            Err(failure)
        }
    }
}

/// The parent's part while the child builds its file system.
fn attend(
    launch: &Launch,
    pid: i32,
    mut to_child: std::fs::File,
    mut from_child: std::fs::File,
) -> Result<(), Failure> {
    let mut outside = || -> Result<(), Failure> {
        if let Some(maps) = &launch.ids {
            map_ids(maps, pid)?;
            to_child.write_all(&[MAPPED]).attempt(|| "the container's first process ended")?;
        }
        if let NetworkPlan::Bridge(port) = &launch.network {
            plug_in(port, pid).attempt(|| "cannot connect the container to the network")?;
        }
        if let Some(plan) = &launch.cgroup {
            crate::cgroup::enter(plan, pid).attempt(|| "cannot set the container's limits")?;
        }
        to_child.write_all(&[GO]).attempt(|| "the container's first process ended")
    };
    let outside = outside();
    drop(to_child);
    let mut report = Vec::new();
    // Ends without a word when the runner is executed.
    from_child.read_to_end(&mut report).attempt(|| "cannot hear from the container")?;
    if report.is_empty() {
        return outside;
    }
    let failure: Failure = serde_json::from_slice(&report)
        .map_err(|error| Failure::io("cannot hear from the container", &error.into()))?;
    match outside {
        Err(own) if failure.message.starts_with(child::ABANDONED) => Err(own),
        _ => Err(failure),
    }
}

fn plug_in(port: &crate::launch::BridgePort, pid: i32) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let veth = Veth {
        host: &port.veth,
        peer: "eth0",
        bridge: interface_index(&port.bridge)?,
        pid: pid.unsigned_abs(),
        mtu: port.mtu,
    };
    match netlink.veth(&veth) {
        // That of an earlier container with this handle, which is about to be removed.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            netlink.delete(&port.veth)?;
            netlink.veth(&veth)?;
        }
        result => result?,
    }
    // Containers need not reach each other; not every kernel can keep them apart.
    std::fs::write(format!("/sys/class/net/{}/brport/isolated", port.veth), "1").ok();
    Ok(())
}

fn namespaces(launch: &Launch) -> i32 {
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if launch.network != NetworkPlan::Host {
        flags |= libc::CLONE_NEWNET;
    }
    if launch.ids.is_some() {
        flags |= libc::CLONE_NEWUSER;
    }
    flags
}

fn clone_failure(launch: &Launch) -> String {
    let mut text = String::from("cannot make the container's namespaces");
    if launch.ids.is_some() {
        text.push_str("; ");
        text.push_str(&crate::userns::refusal());
    }
    text
}

/// Forks into new namespaces; returns 0 in the child.
#[expect(unsafe_code, reason = "no safe wrapper forks into namespaces")]
fn clone(flags: i32) -> io::Result<i32> {
    // SAFETY: the process has one thread, and without a stack argument this is a fork: the child
    // goes on with a copy of everything.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(pid).map_err(io::Error::other)
}

/// Makes what the process sees as the top of its control groups the group it is in.
#[expect(unsafe_code, reason = "unsafe only for flags that undo memory sharing")]
fn unshare_cgroups() -> rustix::io::Result<()> {
    // SAFETY: control group namespaces do not touch memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
}

/// Ends the process without running destructors or exit handlers meant for its parent.
#[expect(unsafe_code, reason = "a forked child must not run its parent's exit handlers")]
fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt(|| "cannot make a pipe")
}

/// Listens at `sock` in the container's directory. The address goes through a descriptor, as
/// socket addresses have room for 107 bytes only.
fn listen(dir: &Path) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let at = rustix::fs::open(dir, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/sock", at.as_raw_fd()))?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

fn map_ids(maps: &IdMaps, pid: i32) -> Result<(), Failure> {
    if maps.helpers {
        for (tool, lines) in [("newuidmap", &maps.users), ("newgidmap", &maps.groups)] {
            let path = crate::network::tool(tool).ok_or_else(|| {
                Failure::unsupported(format!("`{tool}` is not installed any more"))
            })?;
            let numbers = lines.iter().flatten().map(u32::to_string);
            let output = Command::new(path)
                .arg(pid.to_string())
                .args(numbers)
                .output()
                .attempt(|| format!("cannot start `{tool}`"))?;
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                return Err(Failure::unsupported(format!("`{tool}` failed: {}", message.trim())));
            }
        }
        return Ok(());
    }
    let text = |lines: &[[u32; 3]]| {
        lines
            .iter()
            .map(|[inside, outside, n]| format!("{inside} {outside} {n}\n"))
            .collect::<String>()
    };
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/{pid}/{file}"), text).attempt(|| {
            format!("cannot write {file} of the container; {}", crate::userns::refusal())
        })
    };
    // Required before an unprivileged process may map groups.
    write("setgroups", "deny".into())?;
    write("uid_map", text(&maps.users))?;
    write("gid_map", text(&maps.groups))
}

/// Removes a tree whose files belong to ids that only a user namespace gives us.
fn remove(maps: &OsString, path: &Path) -> Result<(), Failure> {
    let maps: IdMaps = serde_json::from_slice(maps.as_encoded_bytes())
        .map_err(|error| Failure::io("cannot read the id maps", &error.into()))?;
    let (read, write) = pipe()?;
    let pid = clone(libc::CLONE_NEWUSER).attempt(crate::userns::refusal)?;
    if pid == 0 {
        drop(write);
        let mut byte = [0];
        let done = std::fs::File::from(read).read_exact(&mut byte).is_ok()
            && child::become_root().is_ok()
            && std::fs::remove_dir_all(path).is_ok();
        exit_now(i32::from(!done));
    }
    drop(read);
    map_ids(&maps, pid)?;
    std::fs::File::from(write).write_all(&[MAPPED]).attempt(|| "the remover ended")?;
    let status = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
        .attempt(|| "cannot wait for the remover")?;
    match status {
        Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
        _ => Err(Failure::unsupported(format!("cannot remove `{}`", path.display()))),
    }
}

/// Makes `fd` available to the executed program as descriptor `number`.
#[expect(unsafe_code, reason = "descriptors are numbered only by the raw call")]
fn pass_on(fd: &OwnedFd, number: RawFd) -> io::Result<()> {
    // Descriptor `number` may be `fd` itself, which duplicating onto itself would leave closing.
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 64)?;
    // SAFETY: the numbered descriptor is owned by nothing that is still used before the exec.
    if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes sure that no descriptor above `last` reaches the executed program.
#[expect(unsafe_code, reason = "the call has no safe wrapper")]
fn close_above_on_exec(last: u32) {
    // SAFETY: only flags change. Kernels without the call are fine: all our own have the flag.
    unsafe {
        libc::syscall(libc::SYS_close_range, last + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Opens a descriptor that `/proc/self/fd` paths are made of.
fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Standard error, which goes to `runner.log`, also as standard output: the pipe to the server
/// must close when the runner starts.
#[expect(unsafe_code, reason = "descriptors are numbered only by the raw call")]
fn silence_stdout() -> io::Result<()> {
    // SAFETY: both descriptors are open, and nothing of ours owns them.
    let stderr = unsafe { std::os::fd::BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
    Ok(rustix::stdio::dup2_stdout(stderr)?)
}
