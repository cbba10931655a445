//! Runs one process in a container to its end, storing its log exactly once.
//!
//! Everything here may be repeated after a restart: starting a process that runs already only
//! attaches to it, and the stored [`Position`] says where its log continues.

use std::time::Duration;

use jb_model::event::LogSource;
use jb_model::{BuildEvent, ContainerHandle, PlanId};
use jb_runtime::client::{Attached, Output, ProcessSpec, RunnerClient, StartError};
use tokio::time::Instant;

use crate::build::BuildContext;
use crate::cancel::Cancel;
use crate::log::{LineBuffer, Position, Redactor};

/// Output of a resource script that is kept for parsing; more is an error.
const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Text without a line end is shown after this long.
const QUIET: Duration = Duration::from_secs(1);
/// Between the polite and the final signal.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Attempts to reach a runner whose stream broke, one second apart, before the step errors.
const RECONNECTS_MAX: u32 = 30;
/// At most this much output is turned into one log event.
const EVENT_BYTES_MAX: usize = 128 * 1024;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// What the process's output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// A task: everything is log.
    Everything,
    /// A resource script: stdout is its result, stderr is log.
    Stderr,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub status: i32,
    pub oom: bool,
    /// Stdout of a script; empty for tasks.
    pub result: Vec<u8>,
    pub cancelled: bool,
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
    #[error("store the log: {0}")]
    Store(#[from] jb_store::Error),
}

/// A process to run in a container that exists.
pub(crate) struct Process<'a> {
    pub context: &'a BuildContext,
    pub origin: &'a PlanId,
    pub container: &'a ContainerHandle,
    /// The process's name in the container: `task`, `resource`.
    pub name: &'static str,
    pub show: Show,
}

impl Process<'_> {
    /// Starts or finds the process and follows it to its end. `started` is called once it runs.
    pub(crate) async fn run(
        &self,
        spec: ProcessSpec,
        cancel: &Cancel,
        started: impl AsyncFnOnce() -> Result<(), jb_store::Error>,
    ) -> Result<Exit, Error> {
        let client = self.connect().await?;
        let path = spec.path.clone();
        client.start(self.name, spec).await.map_err(|error| match error {
            StartError::NotFound { path } => Error::NotFound { path },
            StartError::Other(reason) => Error::Start { path, reason },
            StartError::Lost => Error::Lost(self.container.clone()),
        })?;
        started().await?;
        let key = format!("{}/{}", self.origin, self.name);
        let stored = Position::unpack(self.context.log_position(&key).await?);
        let follower = Follower {
            process: self,
            key,
            buffer: LineBuffer::new(stored),
            redactor: self.context.redactor(),
            result: Vec::new(),
            next: 0,
        };
        follower.follow(client, stored, cancel).await
    }

    async fn connect(&self) -> Result<RunnerClient, Error> {
        let stream = self.context.engine.runtime.connect(self.container).await?;
        Ok(RunnerClient::handshake(stream).await?)
    }
}

struct Follower<'a, 'b> {
    process: &'a Process<'b>,
    key: String,
    buffer: LineBuffer,
    redactor: Redactor,
    result: Vec<u8>,
    /// The journal record to ask for after a broken stream.
    next: u64,
}

impl Follower<'_, '_> {
    async fn follow(
        mut self,
        mut client: RunnerClient,
        stored: Position,
        cancel: &Cancel,
    ) -> Result<Exit, Error> {
        // A script's result is collected anew from the journal; a task's log continues.
        self.next = if self.process.show == Show::Everything { stored.record } else { 0 };
        let mut cancelling = Cancelling::default();
        let mut reconnects = 0;
        loop {
            let mut attached = client.attach(self.process.name, self.next).await?;
            match self.drain(&client, &mut attached, cancel, &mut cancelling).await? {
                Some(exit) => return Ok(exit),
                None => {
                    client = loop {
                        reconnects += 1;
                        if reconnects > RECONNECTS_MAX {
                            return Err(Error::Lost(self.process.container.clone()));
                        }
                        match self.process.connect().await {
                            Ok(client) => break client,
                            Err(Error::Runtime(jb_runtime::Error::NoContainer(handle))) => {
                                return Err(Error::Lost(handle));
                            }
                            Err(error) => {
                                tracing::warn!(container = %self.process.container, %error, "reconnecting to the runner");
                                tokio::time::sleep(Duration::from_secs(1)).await;
                            }
                        }
                    };
                }
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
        let mut quiet_at: Option<Instant> = None;
        loop {
            tokio::select! {
                output = attached.next() => {
                    let Some(output) = output else { return Ok(None) };
                    if let Some(exit) = self.take(output, attached, cancelling).await? {
                        self.acknowledge(client).await;
                        return Ok(Some(exit));
                    }
                    quiet_at = (!self.buffer.is_empty()).then(|| Instant::now() + QUIET);
                }
                () = sleep_until(quiet_at) => {
                    quiet_at = None;
                    if let Some(chunk) = self.buffer.take_all() { self.store(chunk).await?; }
                }
                () = cancel.requested(), if cancelling.term_sent.is_none() => {
                    cancelling.term_sent = Some(Instant::now());
                    signal(client, self.process.name, SIGTERM).await;
                }
                () = sleep_until(cancelling.kill_at()) => {
                    cancelling.kill_sent = true;
                    signal(client, self.process.name, SIGKILL).await;
                }
            }
        }
    }

    /// Takes one output and whatever else waits already, so that a busy process is stored in batches.
    async fn take(
        &mut self,
        first: Output,
        attached: &mut Attached,
        cancelling: &Cancelling,
    ) -> Result<Option<Exit>, Error> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(output) = next {
            match output {
                Output::Data { seq, stream, bytes, .. } => {
                    taken += bytes.len();
                    self.next = seq + 1;
                    self.data(seq, stream, &bytes)?;
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
                        cancelled: cancelling.term_sent.is_some(),
                    }));
                }
            }
            if taken >= EVENT_BYTES_MAX {
                break;
            }
            next = attached.try_next();
        }
        self.store_lines().await?;
        Ok(None)
    }

    fn data(&mut self, seq: u64, stream: LogSource, bytes: &[u8]) -> Result<(), Error> {
        match (self.process.show, stream) {
            (Show::Everything, _) | (Show::Stderr, LogSource::Stderr) => {
                self.buffer.push(seq, bytes)
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

    async fn store(&self, chunk: crate::log::Chunk) -> Result<(), Error> {
        let context = self.process.context;
        let event = BuildEvent::Log {
            origin: self.process.origin.clone(),
            source: match self.process.show {
                Show::Everything => LogSource::Stdout,
                Show::Stderr => LogSource::Stderr,
            },
            time: context.now(),
            payload: self.redactor.mask(chunk.text),
        };
        context.append_log(event, &self.key, chunk.upto.pack()).await?;
        Ok(())
    }

    /// Lets the runner drop what is stored. A failure costs disk space until the container goes, no more.
    async fn acknowledge(&self, client: &RunnerClient) {
        if let Err(error) = client.ack(self.process.name, self.next).await {
            tracing::debug!(container = %self.process.container, %error, "acknowledging a journal");
        }
    }
}

#[derive(Debug, Default)]
struct Cancelling {
    term_sent: Option<Instant>,
    kill_sent: bool,
}

impl Cancelling {
    fn kill_at(&self) -> Option<Instant> {
        (!self.kill_sent).then_some(self.term_sent).flatten().map(|sent| sent + GRACE)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The process may have ended meanwhile; its exit is on the stream then.
async fn signal(client: &RunnerClient, process: &str, number: i32) {
    if let Err(error) = client.signal(process, number).await {
        tracing::debug!(process, number, %error, "signalling");
    }
}
