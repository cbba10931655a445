//! Runs one process in a container to its end, storing its log exactly once.
//!
//! Everything here may be repeated after a restart: starting a process that runs already only
//! attaches to it, and the stored [`Position`] says where its log continues.

use std::time::Duration;

use jb_agent_protocol::{LINE_BYTES_MAX, Source};
use jb_model::event::LogSource;
use jb_model::{BuildEvent, ContainerHandle, PlanId};
use jb_runtime::RunnerStream;
use jb_runtime::client::{
    Attached, JOURNAL_BYTES_MAX, Output, ProcessSpec, RunnerClient, STDIN_PIECE, StartError,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::build::records::WAITING_REASONS;
use crate::build::{Asking, BuildContext};
use crate::cancel::Cancel;
use crate::log::{LineBuffer, Position};

/// Output of a resource script that is kept for parsing; more is an error.
const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is kept of the stderr of a harness or gateway.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Attempts in a row to reach a runner that does not answer, [`Timeouts::reconnect`] apart, before the step errors.
///
/// [`Timeouts::reconnect`]: crate::Timeouts::reconnect
const ATTEMPTS_MAX: u32 = 30;
/// What a script may write from the first byte of its result on, as its runner's journal counts, log included: all of
/// that stays in the journal, which has room for twice as much, so that a server that starts again has the result.
const RESULT_JOURNAL_BYTES_MAX: u64 = JOURNAL_BYTES_MAX / 2;
/// What a process is told at once after its start.
const INPUT_BYTES_MAX: usize = STDIN_PIECE;
/// At most this much output is turned into one log event.
const EVENT_BYTES_MAX: usize = 128 * 1024;
/// The least time between two log events of a process that are smaller. Each is a transaction, and
/// wakes everyone who watches.
const EVENT_SPACING: Duration = Duration::from_millis(10);

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// What the process's output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show<'a> {
    /// A task: everything is log.
    Everything,
    /// A resource script: stdout is its result, stderr is log.
    Stderr,
    /// A harness, gateway or MCP server: each line of stdout is an entry of the transcript; of stderr the beginning is kept, which
    /// says why when there is no last entry.
    Transcript(Speaker<'a>),
}

/// Whose words go to the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speaker<'a> {
    /// The step's name.
    pub agent: &'a str,
    pub source: Source,
    /// Who is asked about calls that it says wait.
    pub asking: Option<&'a Asking>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub status: i32,
    pub oom: bool,
    /// Stdout of a script, the beginning of stderr for a transcript; empty for tasks.
    pub result: Vec<u8>,
    pub cancelled: bool,
}

impl Exit {
    /// Of a process that was cancelled, and whose end nobody saw: it had no container yet, or its runner is not reached.
    pub(crate) fn unseen() -> Self {
        Self { status: 0, oom: false, result: Vec::new(), cancelled: true }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Runtime(#[from] jb_runtime::Error),
    #[error("run `{path}`: executable file not found in $PATH")]
    NotFound { path: String },
    #[error("start `{path}`: {reason}")]
    Start { path: String, reason: String },
    #[error("the container `{0}` was lost: its runner does not answer any more")]
    Lost(ContainerHandle),
    #[error("the script wrote more than {RESULT_BYTES_MAX} bytes of result")]
    ResultTooBig,
    #[error(
        "the script went on to write more than {RESULT_JOURNAL_BYTES_MAX} bytes after its result began: let it write \
         the result to stdout last"
    )]
    ResultTooEarly,
    #[error("store the log: {0}")]
    Store(#[from] jb_store::Error),
}

/// A process to run in a container that exists.
pub(crate) struct Process<'a> {
    pub context: &'a BuildContext,
    pub origin: &'a PlanId,
    pub container: &'a ContainerHandle,
    /// The process's name in the container: `task`, `resource`.
    pub name: &'a str,
    pub show: Show<'a>,
}

impl Process<'_> {
    /// Starts or finds the process and follows it to its end. `started` is called once it runs.
    pub(crate) async fn run(
        &self,
        spec: ProcessSpec,
        cancel: &Cancel,
        started: impl AsyncFnOnce() -> Result<(), jb_store::Error>,
    ) -> Result<Exit, Error> {
        let mut breaks = Breaks::default();
        let client = self.start(spec, &mut breaks).await?;
        self.context.mark(self.origin, self.container, "process started");
        started().await?;
        let key = format!("{}/{}", self.origin, self.name);
        let stored = Position::unpack(self.context.log_position(&key).await?);
        let follower = Follower {
            process: self,
            key,
            buffer: match self.show {
                Show::Transcript(_) => LineBuffer::of_lines(stored, LINE_BYTES_MAX),
                Show::Everything | Show::Stderr => LineBuffer::new(stored),
            },
            result: Vec::new(),
            // A script's result is collected anew from the journal; everything else continues.
            next: if self.show == Show::Stderr { 0 } else { stored.record },
            stored_at: None,
            since_result: 0,
            breaks,
        };
        let followed = follower.follow(client, cancel).await;
        self.context.mark(self.origin, self.container, "process ended");
        if matches!(
            followed,
            Err(Error::ResultTooBig
                | Error::ResultTooEarly
                | Error::Store(jb_store::Error::NoRoomForLogs { .. }))
        ) {
            self.kill().await;
        }
        match followed {
            Ok(exit) if exit.status != 0 && !exit.cancelled => self.unless_taken_away(exit).await,
            followed => followed,
        }
    }

    /// The exit of a process, unless it was ended because its container is taken away.
    async fn unless_taken_away(&self, exit: Exit) -> Result<Exit, Error> {
        let place = self.context.engine.place_of(self.container).await?;
        match place.runtime.taken_away(self.container).await {
            None => Ok(exit),
            Some(why) => {
                let what = format!("container `{}` is gone", self.container);
                Err(jb_runtime::Error::io(what, std::io::Error::other(why)).into())
            }
        }
    }

    /// Writes to the stdin of a process that has started, however often the stream to the runner breaks meanwhile. At most
    /// [`INPUT_BYTES_MAX`], which come whole or not at all.
    pub(crate) async fn tell(&self, input: &[u8]) -> Result<(), Error> {
        debug_assert!(input.len() <= INPUT_BYTES_MAX, "it would be sent in pieces");
        let mut breaks = Breaks::default();
        loop {
            let client = self.connect(&mut breaks).await?;
            match client.stdin(self.name, input.to_vec()).await {
                Ok(()) => return Ok(()),
                Err(jb_runtime::Error::Transient { .. }) => self.pause(&mut breaks).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends a process whose output is not taken any more.
    async fn kill(&self) {
        match self.connect(&mut Breaks::default()).await {
            Ok(client) => {
                signal(&client, self.name, SIGKILL).await;
            }
            Err(error) => tracing::warn!(container = %self.container, %error, "ending a process"),
        }
    }

    /// Starts the process, however often the stream to the runner breaks meanwhile.
    async fn start(&self, spec: ProcessSpec, breaks: &mut Breaks) -> Result<RunnerClient, Error> {
        loop {
            let client = self.connect(breaks).await?;
            match client.start(self.name, spec.clone()).await {
                Ok(_) => return Ok(client),
                Err(StartError::NotFound { path }) => return Err(Error::NotFound { path }),
                Err(StartError::Other(reason)) => {
                    return Err(Error::Start { path: spec.path, reason });
                }
                Err(StartError::Lost) => self.pause(breaks).await?,
            }
        }
    }

    /// Reaches the runner, with patience while that may come to work.
    async fn connect(&self, breaks: &mut Breaks) -> Result<RunnerClient, Error> {
        loop {
            let connected = match self.stream().await? {
                Ok(stream) => RunnerClient::handshake(stream).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(client) => return Ok(client),
                Err(jb_runtime::Error::NoContainer(handle)) => return Err(Error::Lost(handle)),
                Err(error @ jb_runtime::Error::Transient { .. }) => {
                    tracing::warn!(container = %self.container, %error, "connecting to the runner");
                    self.pause(breaks).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn reconnect(&self, breaks: &mut Breaks) -> Result<RunnerClient, Error> {
        self.pause(breaks).await?;
        self.connect(breaks).await
    }

    /// Returns when a cancelled step has waited for its runner for long enough.
    async fn abandoned(&self, cancel: &Cancel) {
        cancel.requested().await;
        tokio::time::sleep(self.context.engine.settings.default_timeouts.abandon).await;
        tracing::warn!(container = %self.container, "a cancelled step's runner is not reached; the step ends without");
    }

    /// Makes a stream to the runner; says in the step's log why that takes long.
    async fn stream(&self) -> Result<jb_runtime::Result<Box<dyn RunnerStream>>, Error> {
        let (sender, mut reasons) = mpsc::channel(WAITING_REASONS);
        let place = match self.context.engine.place_of(self.container).await {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let mut connecting = std::pin::pin!(place.runtime.connect_watched(self.container, sender));
        loop {
            tokio::select! {
                // What was said before the end is stored before the end.
                biased;
                Some(reason) = reasons.recv() => {
                    self.context.say_waits(self.origin, &reason).await?;
                }
                connected = &mut connecting => return Ok(connected),
            }
        }
    }

    /// Waits before the next attempt, if there is one.
    async fn pause(&self, breaks: &mut Breaks) -> Result<(), Error> {
        breaks.unanswered += 1;
        if breaks.unanswered > ATTEMPTS_MAX {
            return Err(Error::Lost(self.container.clone()));
        }
        let pause = self.context.engine.settings.default_timeouts.reconnect;
        // A stream that breaks once in a while is made anew at once.
        if breaks.last.is_some_and(|last| last.elapsed() < pause) {
            tokio::time::sleep(pause).await;
        }
        breaks.last = Some(Instant::now());
        Ok(())
    }
}

/// How streams to a runner broke. However often: one that answers in between is there.
#[derive(Debug, Default)]
struct Breaks {
    /// Attempts since the runner answered last.
    unanswered: u32,
    last: Option<Instant>,
}

struct Follower<'a, 'b> {
    process: &'a Process<'b>,
    key: String,
    buffer: LineBuffer,
    result: Vec<u8>,
    /// The journal record to ask for after a broken stream.
    next: u64,
    /// When output was stored last.
    stored_at: Option<Instant>,
    /// Bytes of the journal from the first of the result on.
    since_result: u64,
    breaks: Breaks,
}

impl Follower<'_, '_> {
    async fn follow(mut self, mut client: RunnerClient, cancel: &Cancel) -> Result<Exit, Error> {
        let mut cancelling = Cancelling::default();
        loop {
            match client.attach(self.process.name, self.next).await {
                Ok(mut attached) => {
                    self.breaks.unanswered = 0;
                    // What was said of it before may never have come. A runner that waits for it would say no more.
                    attached.acknowledge_before(self.dispensable()).await;
                    let drained =
                        self.drain(&client, &mut attached, cancel, &mut cancelling).await?;
                    if let Some(exit) = drained {
                        return Ok(exit);
                    }
                }
                Err(jb_runtime::Error::Transient { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                connected = self.process.reconnect(&mut self.breaks) => client = connected?,
                // Its end comes with its container's, whenever that is reached.
                () = self.process.abandoned(cancel) => return Ok(Exit::unseen()),
            }
        }
    }

    /// Follows one attachment; `None` when the stream broke.
    async fn drain(
        &mut self,
        client: &RunnerClient,
        attached: &mut Attached,
        cancel: &Cancel,
        cancelling: &mut Cancelling,
    ) -> Result<Option<Exit>, Error> {
        let limits = &self.process.context.engine.settings.default_timeouts;
        let (quiet, grace) = (limits.quiet, limits.grace);
        let mut quiet_at: Option<Instant> = None;
        loop {
            tokio::select! {
                output = attached.next() => {
                    let Some(output) = output else { return Ok(None) };
                    if let Some(exit) = self.take(output, attached, cancel).await? {
                        return Ok(Some(exit));
                    }
                    attached.done_before(self.dispensable()).await;
                    // Half an entry is of no use to anybody.
                    let partial = matches!(self.process.show, Show::Everything | Show::Stderr);
                    let waits = partial && !self.buffer.is_empty();
                    quiet_at = waits.then(|| Instant::now() + quiet);
                }
                () = sleep_until(quiet_at) => {
                    quiet_at = None;
                    if let Some(chunk) = self.buffer.take_all() { self.store(chunk).await?; }
                }
                () = cancel.requested(), if cancelling.term_sent.is_none() => {
                    if !signal(client, self.process.name, SIGTERM).await { return Ok(None); }
                    cancelling.term_sent = Some(Instant::now());
                }
                () = sleep_until(cancelling.kill_at(grace)) => {
                    if !signal(client, self.process.name, SIGKILL).await { return Ok(None); }
                    cancelling.kill_sent = true;
                }
            }
        }
    }

    /// Takes one output and what else waits already or soon, so that a busy process is stored in batches.
    async fn take(
        &mut self,
        first: Output,
        attached: &mut Attached,
        cancel: &Cancel,
    ) -> Result<Option<Exit>, Error> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(output) = next {
            let journal_bytes = u64::from(output.wire_len());
            match output {
                Output::Data { seq, stream, bytes, .. } => {
                    taken += bytes.len();
                    self.next = seq + 1;
                    self.data(seq, stream, &bytes)?;
                    if self.process.show == Show::Stderr && !self.result.is_empty() {
                        self.since_result += journal_bytes;
                    }
                    if self.since_result > RESULT_JOURNAL_BYTES_MAX {
                        return Err(Error::ResultTooEarly);
                    }
                }
                Output::Exited { status, oom, .. } => {
                    self.store_lines().await?;
                    if let Some(chunk) = self.buffer.take_rest() {
                        self.store(chunk).await?;
                    }
                    return Ok(Some(Exit {
                        status,
                        oom,
                        result: std::mem::take(&mut self.result),
                        // Not whether it was signalled: that may have been before a restart.
                        cancelled: cancel.is_requested(),
                    }));
                }
            }
            if taken >= EVENT_BYTES_MAX {
                break;
            }
            next = match (attached.try_next(), self.stored_at) {
                (None, Some(stored)) => {
                    // Waits for nothing when the last event was long ago. A broken stream is seen by
                    // whoever asks it next.
                    let more = tokio::time::timeout_at(stored + EVENT_SPACING, attached.next());
                    more.await.ok().flatten()
                }
                (waiting, _) => waiting,
            };
        }
        self.store_lines().await?;
        Ok(None)
    }

    fn data(&mut self, seq: u64, stream: LogSource, bytes: &[u8]) -> Result<(), Error> {
        match (self.process.show, stream) {
            (Show::Everything, _)
            | (Show::Stderr, LogSource::Stderr)
            | (Show::Transcript(_), LogSource::Stdout) => self.buffer.push(seq, bytes),
            (Show::Transcript(_), LogSource::Stderr) => {
                let room = STDERR_BYTES_MAX.saturating_sub(self.result.len());
                self.result.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            (Show::Stderr, LogSource::Stdout) => {
                if self.result.len() + bytes.len() > RESULT_BYTES_MAX {
                    return Err(Error::ResultTooBig);
                }
                self.result.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    async fn store_lines(&mut self) -> Result<(), Error> {
        match self.buffer.take_lines() {
            Some(chunk) => self.store(chunk).await,
            None => Ok(()),
        }
    }

    async fn store(&mut self, chunk: crate::log::Chunk) -> Result<(), Error> {
        let context = self.process.context;
        if let Show::Transcript(speaker) = self.process.show {
            let (origin, upto) = (self.process.origin, chunk.upto.pack());
            context.append_transcript(origin, speaker, &chunk.text, &self.key, upto).await?;
            self.stored_at = Some(Instant::now());
            return Ok(());
        }
        let event = BuildEvent::Log {
            origin: self.process.origin.clone(),
            source: match self.process.show {
                Show::Everything | Show::Transcript(_) => LogSource::Stdout,
                Show::Stderr => LogSource::Stderr,
            },
            time: context.now(),
            payload: context.mask(chunk.text),
        };
        context.append_log(event, &self.key, chunk.upto.pack()).await?;
        self.stored_at = Some(Instant::now());
        Ok(())
    }

    /// All records before this one are stored and may be gone from the runner. Never the exit, which is needed until the
    /// step's end is stored; of a script only what it said before its result began.
    fn dispensable(&self) -> u64 {
        if self.process.show == Show::Stderr && !self.result.is_empty() {
            return 0;
        }
        // After a restart, less was looked at than is stored.
        self.buffer.stored().record.min(self.next)
    }
}

#[derive(Debug, Default)]
struct Cancelling {
    term_sent: Option<Instant>,
    kill_sent: bool,
}

impl Cancelling {
    fn kill_at(&self, grace: Duration) -> Option<Instant> {
        (!self.kill_sent).then_some(self.term_sent).flatten().map(|sent| sent + grace)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// False when the stream broke before the runner had it. The process may have ended meanwhile; its exit is on the
/// stream then.
async fn signal(client: &RunnerClient, process: &str, number: i32) -> bool {
    match client.signal(process, number).await {
        Ok(()) => true,
        Err(jb_runtime::Error::Transient { .. }) => false,
        Err(error) => {
            tracing::debug!(process, number, %error, "signalling");
            true
        }
    }
}
