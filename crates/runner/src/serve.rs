//! `jb-runner serve`: the loop that waits for everything.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use jb_archive::owner::give_tree_once;
use jb_runner_protocol::record::MAX_RECORD;
use jb_runner_protocol::{ANNOUNCEMENT, MAX_CHUNK, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::{Options, Socket};
use crate::say;
use crate::sys::{self, Signals};
use crate::user::identify;
use connection::Connection;
use door::Door;
pub(crate) use door::Lock;
use echo::Echo;
use pace::Pace;
use supervisor::Supervisor;

mod connection;
mod door;
mod echo;
mod pace;
mod supervisor;

/// Connections beyond this many are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// After the last process, how long output and answers may take to reach the clients.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves until asked to shut down, or until the main process is done with. Returns the status to
/// end with: the main process's, if it ended.
pub(crate) fn serve(options: Options) -> Result<u8, String> {
    let failed = |what: &str, error: io::Error| format!("{what}: {error}");
    let signals = Signals::watch().map_err(|error| failed("watch signals", error))?;
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        sys::adopt_orphans().map_err(|error| failed("adopt orphans", error))?;
    }
    for directory in &options.make {
        let what = || format!("make {}", directory.display());
        fs::create_dir_all(directory).map_err(|error| failed(&what(), error))?;
    }
    hand_over(&options);
    let listener = listen(&options.socket).map_err(|error| failed("listen", error))?;
    let door = options.door.and_then(|(port, lock)| {
        let door = Door::open(port, lock);
        door.inspect_err(|error| say(&format!("port {port} is of no use: {error}"))).ok()
    });
    let supervisor = Supervisor::new(&options)?;
    let echo = options.echo.then(|| Echo::new(options.main.clone()));
    let mut server = Server {
        options,
        signals,
        listener,
        door,
        supervisor,
        connections: Vec::new(),
        last_connection: 0,
        echo,
        pace: Pace::default(),
        farewell: None,
    };
    server.run()
}

/// Gives the user its directories. What cannot be given, as on some network file systems, the process may still use.
fn hand_over(options: &Options) {
    if options.own.is_empty() {
        return;
    }
    // A user who is not there is told of when a process is to run as them.
    let Ok(user) = identify(options.user.as_deref()) else { return };
    for directory in &options.own {
        if let Err(error) = give_tree_once(directory, user.uid, user.gid) {
            say(&format!("cannot give {} to user {}: {error}", directory.display(), user.uid));
        }
    }
}

fn listen(socket: &Socket) -> io::Result<UnixListener> {
    let listener = match socket {
        Socket::Inherited(fd) => UnixListener::from(sys::inherited(*fd)?),
        Socket::Path(path) => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            listener
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Server {
    options: Options,
    signals: Signals,
    listener: UnixListener,
    door: Option<Door>,
    supervisor: Supervisor,
    connections: Vec<Connection>,
    last_connection: u64,
    echo: Option<Echo>,
    pace: Pace,
    /// Everything ended; this is when the runner does, whoever still listens.
    farewell: Option<Instant>,
}

/// What a descriptor that is waited for belongs to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    /// Or somebody at it.
    Door,
    Connection(usize),
    Echo,
    /// Positions in the list of running processes.
    Output(usize, usize),
    Input(usize),
}

impl Server {
    fn run(&mut self) -> Result<u8, String> {
        let mut scratch = vec![0_u8; MAX_RECORD];
        let Some(scratch) = scratch.first_chunk_mut::<MAX_RECORD>() else { return Ok(0) };
        loop {
            let running = self.supervisor.running();
            let ready = self.wait(&running).map_err(|error| format!("poll: {error}"))?;
            let now = Instant::now();
            for (source, flags) in ready {
                self.handle(source, flags, &running, scratch);
            }
            self.supervisor.advance(now, scratch);
            self.let_in(now);
            self.exchange();
            if let Some(status) = self.finished(now) {
                return Ok(status);
            }
        }
    }

    /// Waits until something is ready or due.
    fn wait(&self, running: &[String]) -> io::Result<Vec<(Source, PollFlags)>> {
        let now = Instant::now();
        let gathering = self.pace.until(now);
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![
            PollFd::new(self.signals.fd(), PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        for fd in self.door.iter().flat_map(Door::sources) {
            sources.push(Source::Door);
            fds.push(fd);
        }
        for (index, connection) in self.connections.iter().enumerate() {
            sources.push(Source::Connection(index));
            fds.push(PollFd::new(connection.stream(), connection.interest()));
        }
        if let Some(fd) = self.echo.as_ref().and_then(Echo::writable) {
            sources.push(Source::Echo);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
        }
        for (index, id) in running.iter().enumerate() {
            let Some(process) = self.supervisor.process(id) else { continue };
            let readable = process.readable(self.options.journal_limit);
            for (stream, fd) in readable.filter(|_| gathering.is_none()) {
                sources.push(Source::Output(index, stream));
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
            if let Some(fd) = process.writable() {
                sources.push(Source::Input(index));
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
            }
        }
        let timeout = self.deadline().into_iter().chain(gathering).min().map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            // Rounded up, so that what is due at the deadline is due when this returns.
            let left = left + Duration::from_micros(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn deadline(&self) -> Option<Instant> {
        let linger = self.supervisor.main_ended_at().zip(self.options.linger);
        let linger = linger.map(|(ended, linger)| ended + linger);
        let door = self.door.as_ref().and_then(Door::deadline);
        [self.supervisor.deadline(), linger, self.farewell, door].into_iter().flatten().min()
    }

    fn handle(
        &mut self,
        source: Source,
        flags: PollFlags,
        running: &[String],
        scratch: &mut [u8; MAX_RECORD],
    ) {
        match source {
            Source::Signals => self.handle_signals(scratch),
            Source::Listener => self.accept(),
            Source::Connection(index) => {
                if let Some(connection) = self.connections.get_mut(index) {
                    connection.handle(flags, &mut scratch[..MAX_CHUNK]);
                }
            }
            // Written after everything else was handled.
            Source::Echo => {}
            // Answered in every turn: callers who say nothing are shown out, too.
            Source::Door => {}
            Source::Output(index, stream) => {
                if let Some(process) = self.supervisor.process_mut(&running[index]) {
                    let bytes = process.read(stream, scratch);
                    self.pace.note(bytes, Instant::now());
                }
            }
            Source::Input(index) => {
                if let Some(process) = self.supervisor.process_mut(&running[index]) {
                    process.write_input();
                }
            }
        }
    }

    fn handle_signals(&mut self, scratch: &mut [u8; MAX_RECORD]) {
        while let Some(signal) = self.signals.next() {
            if signal != libc::SIGCHLD {
                self.supervisor.shut_down(self.options.grace);
            }
        }
        while let Some((pid, status, signal)) = sys::reap() {
            self.supervisor.reaped(pid, (status, signal), scratch);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let fd: OwnedFd = stream.into();
            // A process in the container that runs as another user must not start one as root.
            // Who can reach an inherited socket was decided by who made it.
            let trusted = match self.options.socket {
                Socket::Inherited(_) => true,
                Socket::Path(_) => sys::peer_uid(&fd)
                    .is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw()),
            };
            if !trusted {
                say("refused a connection of another user");
                continue;
            }
            if rustix::io::ioctl_fionbio(fd.as_fd(), true).is_ok() {
                self.admit(fd, &[]);
            }
        }
    }

    /// Takes those into the circle of clients who have the key.
    fn let_in(&mut self, now: Instant) {
        let callers = self.door.as_mut().map(|door| door.answer(now)).unwrap_or_default();
        for caller in callers {
            self.admit(caller, &[ANNOUNCEMENT]);
        }
    }

    fn admit(&mut self, stream: OwnedFd, greeting: &[u8]) {
        if self.connections.len() >= MAX_CONNECTIONS {
            say("refused a connection: one too many");
            return;
        }
        self.last_connection += 1;
        self.connections.push(Connection::new(self.last_connection, stream, greeting));
    }

    /// Answers requests and passes on what is new in the journals.
    fn exchange(&mut self) {
        for connection in &mut self.connections {
            connection.serve(&mut self.supervisor);
        }
        for (connection, token) in self.supervisor.take_relieved() {
            let connection = self.connections.iter_mut().find(|c| c.number() == connection);
            if let Some(connection) = connection {
                connection.answer(&Reply::Done { token });
            }
        }
        for connection in &mut self.connections {
            if connection.pump(&self.supervisor) {
                self.supervisor.note_progress();
            }
        }
        if let Some(echo) = &mut self.echo
            && !echo.pump(&self.supervisor)
        {
            self.echo = None;
        }
        let before = self.connections.len();
        self.connections.retain(Connection::is_open);
        if self.supervisor.take_acknowledged() || self.connections.len() != before {
            let readers = self.connections.iter().flat_map(Connection::positions);
            let readers: Vec<_> =
                readers.chain(self.echo.iter().flat_map(Echo::positions)).collect();
            self.supervisor.delete_acknowledged(&readers);
        }
    }

    /// The status to end with, when it is time to.
    fn finished(&mut self, now: Instant) -> Option<u8> {
        let status = self.supervisor.main_status().unwrap_or(0);
        if let Some((ended, linger)) = self.supervisor.main_ended_at().zip(self.options.linger) {
            let echoed = self.echo.as_ref().is_none_or(|echo| echo.is_done(&self.supervisor));
            let alone = !self.supervisor.any_running();
            if now >= ended + linger || (self.supervisor.main_acknowledged() && alone && echoed) {
                return Some(status);
            }
        }
        if !self.supervisor.is_shutting_down() || self.supervisor.any_running() {
            return None;
        }
        let farewell = *self.farewell.get_or_insert(now + FAREWELL);
        let told = self.connections.iter().all(|c| c.is_idle(&self.supervisor));
        let echoed = self.echo.as_ref().is_none_or(|echo| echo.is_done(&self.supervisor));
        (now >= farewell || (told && echoed)).then_some(status)
    }
}
