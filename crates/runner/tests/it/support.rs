//! A runner of its own for each test, and a small blocking client.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use jb_runner_protocol::{
    FailureKind, FrameBuffer, ProcessInfo, ProcessSpec, Reply, Request, Stream, VERSION,
};
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_jb-runner");

pub(crate) struct Runner {
    dir: TempDir,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Runner {
    pub(crate) fn start() -> Self {
        Self::with(&[], Stdio::null())
    }

    pub(crate) fn with(options: &[&str], stdout: Stdio) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = serve(dir.path(), Command::new(BINARY), options, stdout);
        Self { dir, child, ended: None }
    }

    /// With room for everything that the tests say, acknowledged or not.
    pub(crate) fn roomy() -> Self {
        Self::with(&["--journal-limit", "1073741824"], Stdio::null())
    }

    /// As process 1 of a process namespace.
    pub(crate) fn as_init(options: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", BINARY]);
        Self::with_command(command, options)
    }

    /// By a command that takes the runner's arguments and becomes it.
    pub(crate) fn with_command(command: Command, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = serve(dir.path(), command, options, Stdio::null());
        Self { dir, child, ended: None }
    }

    /// Kills the runner alone and starts another one on the same journals.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(self.socket()).unwrap();
        self.child = serve(self.dir.path(), Command::new(BINARY), &[], Stdio::null());
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn client(&self) -> Client {
        let mut client = Client::new(UnixStream::connect(self.socket()).unwrap());
        client.send(&Request::Hello { version: VERSION });
        assert_eq!(client.receive(), Some(Reply::Hello { version: VERSION }));
        client
    }

    /// Waits for the runner's own end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.ended = Some(status);
        status
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // Its processes end with it.
        if let Ok(stream) = UnixStream::connect(self.socket()) {
            let mut client = Client::new(stream);
            let mut wire = Vec::new();
            Request::Hello { version: VERSION }.encode(&mut wire);
            Request::Shutdown { token: 0, grace_ms: 0 }.encode(&mut wire);
            let _ = client.stream.write_all(&wire);
            let _ = client.stream.read_to_end(&mut Vec::new());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The socket listens before the runner starts, so that nobody has to wait for it.
fn serve(dir: &Path, mut command: Command, options: &[&str], stdout: Stdio) -> Child {
    let listener = UnixListener::bind(dir.join("socket")).unwrap();
    command
        .args(["serve", "--socket-fd", "0", "--journal"])
        .arg(dir.join("journal"))
        .args(options)
        .stdin(OwnedFd::from(listener))
        .stdout(stdout)
        .spawn()
        .unwrap()
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    frames: FrameBuffer,
    /// Records that came while an answer was waited for.
    early: VecDeque<Reply>,
    last_token: u32,
}

/// What a process said, put together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: i32,
    pub(crate) signal: i32,
}

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        // What never comes fails the test instead of holding it up.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, frames: FrameBuffer::new(), early: VecDeque::new(), last_token: 0 }
    }

    pub(crate) fn send(&mut self, request: &Request) {
        let mut wire = Vec::new();
        request.encode(&mut wire);
        self.stream.write_all(&wire).unwrap();
    }

    /// The next reply, `None` when the runner closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Reply> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(Reply::decode(frame).unwrap());
            }
            let mut buffer = vec![0; 256 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.frames.extend(&buffer[..n]),
            }
        }
    }

    pub(crate) fn call(&mut self, request: impl FnOnce(u32) -> Request) -> Reply {
        self.last_token += 1;
        self.send(&request(self.last_token));
        loop {
            let reply = self.receive().expect("an answer");
            match reply {
                Reply::Output { .. } | Reply::Exited { .. } => self.early.push_back(reply),
                answer => return answer,
            }
        }
    }

    pub(crate) fn done(&mut self, request: impl FnOnce(u32) -> Request) {
        assert!(matches!(self.call(request), Reply::Done { .. }));
    }

    pub(crate) fn try_start(&mut self, id: &str, spec: ProcessSpec) -> Reply {
        self.call(|token| Request::Start { token, id: id.to_owned(), spec })
    }

    /// Its number; 0 when it ended.
    pub(crate) fn start(&mut self, id: &str, spec: ProcessSpec) -> u32 {
        match self.try_start(id, spec) {
            Reply::Started { pid, .. } => pid,
            other => panic!("not started: {other:?}"),
        }
    }

    pub(crate) fn start_failure(&mut self, id: &str, spec: ProcessSpec) -> (FailureKind, String) {
        match self.try_start(id, spec) {
            Reply::Failed { kind, message, .. } => (kind, message),
            other => panic!("should have failed: {other:?}"),
        }
    }

    /// Attaches without a practical limit; returns the attachment's number and the first record's.
    pub(crate) fn attach(&mut self, id: &str, from_seq: u64) -> (u32, u64) {
        let attachment = self.last_token + 1;
        let (id, window) = (id.to_owned(), u32::MAX);
        match self.call(|token| Request::Attach { token, attachment, id, from_seq, window }) {
            Reply::Attached { first_seq, .. } => (attachment, first_seq),
            other => panic!("not attached: {other:?}"),
        }
    }

    /// The next record of any attachment.
    pub(crate) fn record(&mut self) -> Option<Reply> {
        self.early.pop_front().or_else(|| self.receive())
    }

    /// Every record of a process from a number to its exit.
    pub(crate) fn records(&mut self, id: &str, from_seq: u64) -> Vec<Reply> {
        self.attach(id, from_seq);
        self.rest()
    }

    /// The same, as a server takes them: what came is acknowledged now and then.
    pub(crate) fn taken(&mut self, id: &str, from_seq: u64) -> Vec<Reply> {
        self.attach(id, from_seq);
        let mut records = Vec::new();
        loop {
            let record = self.record().expect("a record");
            let last = matches!(record, Reply::Exited { .. });
            records.push(record);
            if last {
                return records;
            }
            if records.len() % 16 == 0 {
                let seq = from_seq + records.len() as u64 - 1;
                self.send(&Request::Ack { id: id.to_owned(), seq });
            }
        }
    }

    /// Every record up to the next exit.
    pub(crate) fn rest(&mut self) -> Vec<Reply> {
        let mut records = Vec::new();
        loop {
            let record = self.record().expect("a record");
            let last = matches!(record, Reply::Exited { .. });
            records.push(record);
            if last {
                return records;
            }
        }
    }

    /// The records that came with answers.
    pub(crate) fn early(&mut self) -> &mut VecDeque<Reply> {
        &mut self.early
    }

    pub(crate) fn log(&mut self, id: &str) -> Log {
        log(&self.records(id, 0))
    }

    /// Runs a process to its end.
    pub(crate) fn run(&mut self, id: &str, spec: ProcessSpec) -> Log {
        self.start(id, spec);
        self.log(id)
    }

    /// Reads from an attachment until its output so far has this text.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.record() {
                Some(Reply::Output { bytes, .. }) => {
                    seen.push_str(&String::from_utf8_lossy(&bytes))
                }
                other => panic!("{text:?} did not come after {seen:?} but {other:?}"),
            }
        }
        seen
    }

    pub(crate) fn list(&mut self) -> Vec<ProcessInfo> {
        match self.call(|token| Request::List { token }) {
            Reply::Processes { processes, last: true, .. } => processes,
            other => panic!("not a list: {other:?}"),
        }
    }
}

/// Puts records together; they must count from the first without gaps.
pub(crate) fn log(records: &[Reply]) -> Log {
    let mut log = Log::default();
    let mut next = None;
    for record in records {
        let seq = match record {
            Reply::Output { seq, stream, bytes, .. } => {
                match stream {
                    Stream::Stdout => log.stdout.extend_from_slice(bytes),
                    Stream::Stderr => log.stderr.extend_from_slice(bytes),
                }
                *seq
            }
            Reply::Exited { seq, status, signal, .. } => {
                (log.status, log.signal) = (*status, *signal);
                *seq
            }
            other => panic!("not a record: {other:?}"),
        };
        assert_eq!(seq, *next.get_or_insert(seq));
        next = Some(seq + 1);
    }
    log
}

pub(crate) fn program(path: &str, args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        path: path.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ProcessSpec::default()
    }
}

pub(crate) fn sh(script: &str) -> ProcessSpec {
    program("sh", &["-c", script])
}
