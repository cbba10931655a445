//! From a spec to a running program.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use jb_runner_protocol::{ProcessSpec, Stdin, WindowSize};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::child::{self, Program, Stage};
use crate::sys;
use crate::user::{self, Identity};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Asked for pipes of output: fewer, larger reads.
const PIPE: i32 = 1 << 20;

/// A program that was executed, and this side of what it reads and writes.
pub(super) struct Spawned {
    pub(super) pid: i32,
    /// The terminal, when there is one.
    pub(super) stdout: OwnedFd,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) tty: Option<OwnedFd>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SpawnError {
    NotFound(String),
    Other(String),
}

impl SpawnError {
    fn other(what: &str, error: impl Into<io::Error>) -> Self {
        Self::Other(format!("{what}: {}", error.into()))
    }
}

/// The two sides of a process's input and output.
struct Stdio {
    ours: Ours,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

struct Ours {
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    tty: Option<OwnedFd>,
}

/// Starts the program; returns once it was executed or could not be.
pub(super) fn spawn(spec: &ProcessSpec) -> Result<Spawned, SpawnError> {
    let identity = user::identify(spec.user.as_deref()).map_err(SpawnError::Other)?;
    let program = program(spec, &identity)?;
    if spec.create_dir {
        create_dir(Path::new(directory(spec)), &identity)
            .map_err(|error| SpawnError::other(&format!("create {}", spec.dir), error))?;
    }
    let stdio = match spec.tty {
        Some(size) => {
            terminal(size, &identity).map_err(|e| SpawnError::other("open a terminal", e))
        }
        None => pipes(&spec.stdin, &identity).map_err(|e| SpawnError::other("open pipes", e)),
    }?;
    let files = [&stdio.stdin, &stdio.stdout, &stdio.stderr].map(AsRawFd::as_raw_fd);
    let (report, reported) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|error| SpawnError::other("open a pipe", error))?;
    let pid = child::fork(&program, files, spec.tty.is_some(), &reported)
        .map_err(|error| SpawnError::other("fork", error))?;
    drop((reported, stdio.stdin, stdio.stdout, stdio.stderr));
    // Closed by a successful execution, so this ends either way.
    let mut failure = Vec::new();
    fs::File::from(report)
        .read_to_end(&mut failure)
        .map_err(|error| SpawnError::other("start the process", error))?;
    if let Some((stage, errno)) = child::parse_failure(&failure) {
        return Err(explain(spec, stage, io::Error::from_raw_os_error(errno)));
    }
    let Ours { stdout, stderr, stdin, tty } = stdio.ours;
    for fd in [Some(&stdout), stderr.as_ref(), stdin.as_ref()].into_iter().flatten() {
        rustix::io::ioctl_fionbio(fd, true)
            .map_err(|error| SpawnError::other("start the process", error))?;
    }
    Ok(Spawned { pid, stdout, stderr, stdin, tty })
}

fn directory(spec: &ProcessSpec) -> &str {
    if spec.dir.is_empty() { "/" } else { &spec.dir }
}

/// What is missing in the environment is added as container engines do.
pub(super) fn environment(
    given: &[(String, String)],
    identity: &Identity,
) -> Vec<(String, String)> {
    let mut environment = given.to_vec();
    let defaults = [("PATH", DEFAULT_PATH), ("HOME", &identity.home), ("USER", &identity.name)];
    for (name, value) in defaults {
        if !given.iter().any(|(existing, _)| existing == name) {
            environment.push((name.to_owned(), value.to_owned()));
        }
    }
    environment
}

/// The files to try in turn.
pub(super) fn candidates(path: &str, environment: &[(String, String)]) -> Vec<String> {
    if path.contains('/') {
        return vec![path.to_owned()];
    }
    let search = environment.iter().rev().find(|(name, _)| name == "PATH");
    let search = search.map_or(DEFAULT_PATH, |(_, value)| value);
    search
        .split(':')
        .map(|dir| if dir.is_empty() { format!("./{path}") } else { format!("{dir}/{path}") })
        .collect()
}

fn program(spec: &ProcessSpec, identity: &Identity) -> Result<Program, SpawnError> {
    if spec.path.is_empty() {
        return Err(SpawnError::Other("the process has no path to execute".to_owned()));
    }
    let c = |text: String, what: &str| {
        CString::new(text).map_err(|_| SpawnError::Other(format!("{what} has a NUL byte")))
    };
    let environment = environment(&spec.env, identity);
    let candidates = candidates(&spec.path, &environment)
        .into_iter()
        .map(|file| c(file, "the path"))
        .collect::<Result<_, _>>()?;
    let arguments = std::iter::once(&spec.path)
        .chain(&spec.args)
        .map(|argument| c(argument.clone(), "an argument"))
        .collect::<Result<_, _>>()?;
    let environment = environment
        .into_iter()
        .map(|(name, value)| c(format!("{name}={value}"), "an environment variable"))
        .collect::<Result<_, _>>()?;
    Ok(Program {
        candidates,
        arguments,
        environment,
        dir: c(directory(spec).to_owned(), "the directory")?,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
        privileged: spec.privileged,
    })
}

/// Makes a directory and its parents; those made belong to the user.
fn create_dir(dir: &Path, identity: &Identity) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = Some(dir);
    while let Some(path) = at.filter(|path| !path.as_os_str().is_empty() && !path.exists()) {
        missing.push(path.to_owned());
        at = path.parent();
    }
    for path in missing.iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        own_path(path, identity);
    }
    Ok(())
}

/// Gives a file to the user. A runner without that right runs everything as one user anyway.
fn own_path(path: &Path, identity: &Identity) {
    let _ = chown(path, Some(identity.uid), Some(identity.gid));
}

/// As [`own_path`]; lets the program open `/dev/stdout` and the like again.
fn own(fd: impl AsFd, identity: &Identity) {
    let _ = fchown(fd, Some(Uid::from_raw(identity.uid)), None::<Gid>);
}

pub(super) fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

fn terminal(size: WindowSize, identity: &Identity) -> io::Result<Stdio> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).or_else(|error| {
        // Without the usual link to the container's own terminals.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).map_err(|_| error)
    })?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).or_else(|_| {
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(name, flags, Mode::empty())
    })?;
    rustix::termios::tcsetwinsize(&master, winsize(size))?;
    own(&slave, identity);
    let ours = Ours {
        stdout: master.try_clone()?,
        stderr: None,
        stdin: Some(master.try_clone()?),
        tty: Some(master),
    };
    Ok(Stdio { ours, stdin: slave.try_clone()?, stdout: slave.try_clone()?, stderr: slave })
}

fn pipes(stdin: &Stdin, identity: &Identity) -> io::Result<Stdio> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (stdout_reader, stdout) = pipe()?;
    let (stderr_reader, stderr) = pipe()?;
    sys::widen_pipe(&stdout_reader, PIPE);
    let (stdin, stdin_writer) = match stdin {
        Stdin::Null => (fs::File::open("/dev/null")?.into(), None),
        Stdin::Open | Stdin::Data(_) | Stdin::Fed(_) => {
            let (reader, writer) = pipe()?;
            own(&reader, identity);
            (reader, Some(writer))
        }
    };
    own(&stdout, identity);
    own(&stderr, identity);
    let ours =
        Ours { stdout: stdout_reader, stderr: Some(stderr_reader), stdin: stdin_writer, tty: None };
    Ok(Stdio { ours, stdin, stdout, stderr })
}

/// What went wrong between fork and execution, in words that name what to change.
fn explain(spec: &ProcessSpec, stage: Stage, error: io::Error) -> SpawnError {
    let (path, dir) = (&spec.path, directory(spec));
    let user = spec.user.as_deref().unwrap_or("root");
    let text = match stage {
        Stage::Execute if error.kind() == io::ErrorKind::NotFound => {
            let file = Path::new(dir).join(path);
            if !path.contains('/') || !file.exists() {
                return SpawnError::NotFound(format!("executable `{path}` not found"));
            }
            format!("execute `{path}`: the interpreter or loader it names does not exist")
        }
        Stage::Execute => format!("execute `{path}`: {error}"),
        Stage::Directory => format!("enter the directory `{dir}`: {error}"),
        Stage::User => format!("become the user `{user}`: {error}"),
        Stage::Capabilities => format!("give up capabilities: {error}"),
        Stage::Stdio => format!("set up input, output and terminal: {error}"),
    };
    SpawnError::Other(text)
}
