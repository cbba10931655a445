//! The runner's client: processes of a container over one stream.
//!
//! A [`RunnerClient`] is a handle to two tasks, one reading the stream and one writing it; clones
//! share them and they end with the last clone. Nothing is retried here: when the stream is lost,
//! every call fails with [`Error::Transient`] and every [`Attached`] ends, and the caller connects
//! again and attaches from the number after the last it stored. Starting a process again by the
//! same id is harmless.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jb_model::Timestamp;
use jb_model::event::LogSource;
use jb_runner_protocol::{
    FailureKind, FrameBuffer, MAX_PAYLOAD, MAX_START_PAYLOAD, Reply, Request, VERSION, record,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use jb_runner_protocol::{
    JOURNAL_BYTES_MAX, ProcessInfo, ProcessSpec, ProcessState, Stdin, Stream, WindowSize,
};

use crate::{Error, Result, RunnerStream};

mod attached;
pub mod silence;
#[cfg(test)]
mod tests;

pub use attached::{Attached, Output};

/// How long a runner may take to say hello.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of output a runner may send before the reader took any of them.
const WINDOW: u32 = 1 << 20;
/// Input is sent in pieces of this many bytes, each answered before the next.
pub const STDIN_PIECE: usize = MAX_PAYLOAD / 4;
/// How long [`RunnerClient::shutdown`] lets processes end by themselves.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// A connection to a runner; cheap to clone.
#[derive(Clone)]
pub struct RunnerClient {
    connection: Arc<Connection>,
}

/// A process that was started, now or earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// In the container's own numbering; `None` once it ended.
    pub pid: Option<u32>,
    /// True when a process with this id was there before; its spec was not looked at.
    pub existing: bool,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `fly` knows a missing program by these words, and tries another shell.
    #[error("run `{path}`: executable file not found in $PATH")]
    NotFound { path: String },
    #[error("{0}")]
    Other(String),
    /// Whether the process started is unknown: connect again and start it again by the same id.
    #[error("the connection to the runner was lost")]
    Lost,
}

impl RunnerClient {
    /// Says hello and checks that both sides speak the same version.
    pub async fn handshake(stream: Box<dyn RunnerStream>) -> Result<Self> {
        let silence_max = stream.silence_max();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut frames = FrameBuffer::new();
        let greeting = greet(&mut reader, &mut writer, &mut frames);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, greeting).await {
            Ok(greeted) => greeted?,
            Err(_) => return Err(lost("greet the runner: no answer in 10 seconds")),
        }
        let (outgoing, to_send) = mpsc::channel(64);
        let state = Arc::new(Mutex::new(State::default()));
        let asking = Asking { outgoing: outgoing.clone(), silence_max };
        let read = tokio::spawn(read_replies(reader, frames, Arc::clone(&state), asking));
        tokio::spawn(write_requests(writer, to_send, silence_max));
        Ok(Self { connection: Arc::new(Connection { outgoing, state, read }) })
    }

    /// Starts a process, or finds the one with this id. The answer comes once the program runs.
    pub async fn start(&self, id: &str, spec: ProcessSpec) -> Result<Started, StartError> {
        let path = spec.path.clone();
        let id = id.to_owned();
        let reply =
            self.connection.call(|token| Request::Start { token, id, spec }).await.map_err(
                |error| match error {
                    Error::Transient { .. } => StartError::Lost,
                    other => StartError::Other(other.to_string()),
                },
            )?;
        match reply {
            Reply::Started { pid, existing, .. } => {
                Ok(Started { pid: Some(pid).filter(|pid| *pid != 0), existing })
            }
            Reply::Failed { kind: FailureKind::ExecutableNotFound, .. } => {
                Err(StartError::NotFound { path })
            }
            Reply::Failed { message, .. } => Err(StartError::Other(message)),
            other => Err(StartError::Other(unexpected(&other).to_string())),
        }
    }

    /// Follows a process's journal from `from_seq` to its exit.
    pub async fn attach(&self, id: &str, from_seq: u64) -> Result<Attached> {
        Attached::new(Arc::clone(&self.connection), id, from_seq).await
    }

    /// Sends a signal to the process and its group. Does nothing when it ended.
    pub async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let id = id.to_owned();
        self.connection.done(|token| Request::Signal { token, id, signal, group: true }).await
    }

    /// Does nothing to a process without a terminal.
    pub async fn resize(&self, id: &str, size: WindowSize) -> Result<()> {
        let id = id.to_owned();
        self.connection.done(|token| Request::Resize { token, id, size }).await
    }

    /// Returns when the process's input has room for more. Input to a process that does not read
    /// any more is dropped.
    pub async fn stdin(&self, id: &str, bytes: Vec<u8>) -> Result<()> {
        for piece in bytes.chunks(STDIN_PIECE) {
            let (id, bytes) = (id.to_owned(), piece.to_vec());
            self.connection.done(|token| Request::Stdin { token, id, bytes }).await?;
        }
        Ok(())
    }

    /// Ends the process's input; on a terminal, by the end-of-file character.
    pub async fn close_stdin(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.connection.done(|token| Request::CloseStdin { token, id }).await
    }

    /// Removes an ended process and its journal from the runner.
    pub async fn forget(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.connection.done(|token| Request::Forget { token, id }).await
    }

    /// Every process the runner knows, in the order of their ids.
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>> {
        match self.connection.call(|token| Request::List { token }).await? {
            Reply::Processes { processes, .. } => Ok(processes),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends every process, gently at first, and the runner. Returns once the runner has begun.
    pub async fn shutdown(&self) -> Result<()> {
        self.shutdown_within(SHUTDOWN_GRACE).await
    }

    /// As [`Self::shutdown`]; processes are killed after `grace`.
    pub async fn shutdown_within(&self, grace: Duration) -> Result<()> {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.connection.done(|token| Request::Shutdown { token, grace_ms }).await
    }
}

/// What the clones and attachments of one connection share.
struct Connection {
    outgoing: mpsc::Sender<Vec<u8>>,
    state: Arc<Mutex<State>>,
    read: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The writing task ends by itself when everything queued is sent.
        self.read.abort();
    }
}

#[derive(Default)]
struct State {
    /// Why the stream ended.
    lost: Option<String>,
    /// The last token or attachment number given out.
    last_number: u32,
    waiting: HashMap<u32, oneshot::Sender<Reply>>,
    /// The parts of lists that came so far.
    lists: HashMap<u32, Vec<ProcessInfo>>,
    attachments: HashMap<u32, mpsc::Sender<Output>>,
}

impl State {
    fn next_number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics while it holds the lock half-way through a change.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    async fn send(&self, request: &Request) -> Result<()> {
        let mut frame = Vec::new();
        request.encode(&mut frame);
        let limit = match request {
            Request::Start { .. } => MAX_START_PAYLOAD,
            _ => MAX_PAYLOAD,
        };
        if frame.len() > limit {
            return Err(Error::Protocol(format!(
                "a request of {} bytes to the runner is larger than the {limit} allowed",
                frame.len()
            )));
        }
        self.outgoing.send(frame).await.map_err(|_| self.why_lost())
    }

    /// Sends a request and waits for its answer.
    async fn call(&self, request: impl FnOnce(u32) -> Request) -> Result<Reply> {
        let (answer, answered) = oneshot::channel();
        let token = {
            let mut state = lock(&self.state);
            if state.lost.is_some() {
                drop(state);
                return Err(self.why_lost());
            }
            let token = state.next_number();
            state.waiting.insert(token, answer);
            token
        };
        let _forget = Waiting { state: &self.state, token };
        self.send(&request(token)).await?;
        answered.await.map_err(|_| self.why_lost())
    }

    /// Sends a request whose answer says only whether it was done.
    async fn done(&self, request: impl FnOnce(u32) -> Request) -> Result<()> {
        match self.call(request).await? {
            Reply::Done { .. } => Ok(()),
            Reply::Failed { message, .. } => Err(Error::Protocol(message)),
            other => Err(unexpected(&other)),
        }
    }

    fn why_lost(&self) -> Error {
        let why = lock(&self.state).lost.clone();
        lost(why.unwrap_or_else(|| "talk to the runner".to_owned()))
    }
}

/// Removes a token whose caller stopped waiting.
struct Waiting<'a> {
    state: &'a Mutex<State>,
    token: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.state);
        state.waiting.remove(&self.token);
        state.lists.remove(&self.token);
    }
}

fn lost(context: impl Into<String>) -> Error {
    Error::Transient {
        context: context.into(),
        source: io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was lost"),
    }
}

fn unexpected(reply: &Reply) -> Error {
    // Only the name: a reply can hold output.
    let text = format!("{reply:?}");
    let name = text.split([' ', '{']).next().unwrap_or_default();
    Error::Protocol(format!("the runner answered with an unexpected {name}"))
}

async fn greet(
    reader: &mut ReadHalf<Box<dyn RunnerStream>>,
    writer: &mut WriteHalf<Box<dyn RunnerStream>>,
    frames: &mut FrameBuffer,
) -> Result<()> {
    let io = |source| Error::Transient { context: "greet the runner".to_owned(), source };
    let mut hello = Vec::new();
    Request::Hello { version: VERSION }.encode(&mut hello);
    writer.write_all(&hello).await.map_err(io)?;
    writer.flush().await.map_err(io)?;
    loop {
        let frame = frames.next_frame().map_err(|error| Error::Protocol(error.to_string()))?;
        match frame.map(Reply::decode) {
            None => {}
            Some(Ok(Reply::Hello { version: VERSION })) => return Ok(()),
            Some(Ok(Reply::Hello { version })) => {
                return Err(Error::Protocol(format!(
                    "the container's runner speaks version {version} of the protocol, this server \
                     version {VERSION}: create the container again with this server's runner"
                )));
            }
            Some(Ok(Reply::Error { message })) => return Err(Error::Protocol(message)),
            Some(Ok(other)) => return Err(unexpected(&other)),
            Some(Err(error)) => return Err(Error::Protocol(error.to_string())),
        }
        if reader.read_buf(frames.tail()).await.map_err(io)? == 0 {
            return Err(lost("greet the runner"));
        }
    }
}

/// Writes requests until the last client is gone or the stream breaks.
async fn write_requests(
    mut writer: WriteHalf<Box<dyn RunnerStream>>,
    mut to_send: mpsc::Receiver<Vec<u8>>,
    silence_max: Option<Duration>,
) {
    while let Some(mut frames) = to_send.recv().await {
        while let Ok(more) = to_send.try_recv() {
            frames.extend_from_slice(&more);
        }
        if silence::write(&mut writer, &frames, silence_max).await.is_err() {
            return;
        }
    }
    // The other side may be gone already.
    let _ = writer.shutdown().await;
}

/// How a runner that is silent is asked whether it is there.
struct Asking {
    outgoing: mpsc::Sender<Vec<u8>>,
    silence_max: Option<Duration>,
}

impl Asking {
    /// The answer goes to nobody.
    fn ask(&self, state: &Mutex<State>) {
        let mut frame = Vec::new();
        Request::List { token: lock(state).next_number() }.encode(&mut frame);
        // Where so much waits to be written, there is no need to ask.
        let _ = self.outgoing.try_send(frame);
    }
}

/// Hands out replies until the stream ends, then tells everyone why.
async fn read_replies(
    mut reader: ReadHalf<Box<dyn RunnerStream>>,
    mut frames: FrameBuffer,
    state: Arc<Mutex<State>>,
    asking: Asking,
) {
    let why = loop {
        if let Err(why) = hand_out(&mut frames, &mut lock(&state)) {
            break why;
        }
        let tail = frames.tail();
        tail.reserve(4 * record::MAX_RECORD);
        let ask = || asking.ask(&state);
        match silence::read(&mut reader, tail, asking.silence_max, ask).await {
            Ok(0) => break "talk to the runner: it closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => break format!("talk to the runner: {error}"),
        }
    };
    tracing::debug!(%why, "runner connection ended");
    let mut state = lock(&state);
    state.lost = Some(why);
    state.waiting.clear();
    state.attachments.clear();
}

/// Gives every whole frame to whom it concerns; an error ends the connection.
fn hand_out(frames: &mut FrameBuffer, state: &mut State) -> Result<(), String> {
    while let Some(frame) = frames.next_frame().map_err(|error| error.to_string())? {
        let reply = Reply::decode(frame).map_err(|error| error.to_string())?;
        let token = match reply {
            Reply::Output { attachment, seq, time_us, stream, bytes } => {
                let source = match stream {
                    Stream::Stdout => LogSource::Stdout,
                    Stream::Stderr => LogSource::Stderr,
                };
                let output = Output::Data { seq, time: Timestamp(time_us), stream: source, bytes };
                attached::deliver(state, attachment, output)?;
                continue;
            }
            Reply::Exited { attachment, seq, time_us, status, signal, oom } => {
                let signal = Some(signal).filter(|signal| *signal != 0);
                let time = Timestamp(time_us);
                let output = Output::Exited { seq, time, status, signal, oom };
                attached::deliver(state, attachment, output)?;
                // Nothing follows the exit; ends the reader's channel after it.
                state.attachments.remove(&attachment);
                continue;
            }
            Reply::Processes { token, processes, last: false } => {
                if state.waiting.contains_key(&token) {
                    state.lists.entry(token).or_default().extend(processes);
                }
                continue;
            }
            Reply::Error { message } => return Err(message),
            Reply::Hello { .. } => return Err("the runner said hello twice".to_owned()),
            Reply::Started { token, .. }
            | Reply::Attached { token, .. }
            | Reply::Done { token }
            | Reply::Failed { token, .. }
            | Reply::Processes { token, last: true, .. } => token,
        };
        let reply = match reply {
            Reply::Processes { token, processes, last } => {
                let mut all = state.lists.remove(&token).unwrap_or_default();
                all.extend(processes);
                Reply::Processes { token, processes: all, last }
            }
            other => other,
        };
        if let Some(waiting) = state.waiting.remove(&token) {
            // The caller may have stopped waiting meanwhile.
            let _ = waiting.send(reply);
        }
    }
    Ok(())
}
