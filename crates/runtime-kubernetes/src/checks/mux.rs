//! One connection to a runner, shared by checks that know nothing of one another.
//!
//! Each check gets a stream of its own on which it speaks the runner's protocol as if it were alone. In between, the
//! names of its processes get a prefix, its numbers are replaced by numbers of the connection, and what its processes
//! may be is set. When the connection breaks, every stream ends; whoever had one asks for another.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jb_runner_protocol::{
    FailureKind, FrameBuffer, MAX_ID, MAX_START_PAYLOAD, Reply, Request, VERSION,
};
use jb_runtime::client::silence;
use jb_runtime::{Error, Result, RunnerStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use super::member::Member;

/// How long the runner may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes on their way to and from a check.
const BUFFER: usize = 256 << 10;
/// Replies to one check that it did not take yet. What it grants the runner keeps it from having more.
const REPLIES: usize = 1 << 16;
/// Requests on their way to the runner.
const QUEUE: usize = 64;

/// The shared connection. Cheap to clone; it ends with the last clone and the last stream.
#[derive(Clone)]
pub(crate) struct Mux {
    shared: Arc<Shared>,
}

struct Shared {
    outgoing: mpsc::Sender<Vec<u8>>,
    routes: Arc<Mutex<Routes>>,
    read: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.read.abort();
    }
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        lock(&self.routes)
    }
}

fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mux {
    /// Says hello to the runner.
    pub(crate) async fn new(stream: impl RunnerStream + 'static) -> Result<Self> {
        let silence_max = stream.silence_max();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut frames = FrameBuffer::new();
        let greeted = tokio::time::timeout(HANDSHAKE, greet(&mut reader, &mut writer, &mut frames));
        greeted.await.unwrap_or_else(|_| Err(lost(io::ErrorKind::TimedOut)))?;
        let (outgoing, mut to_send) = mpsc::channel::<Vec<u8>>(QUEUE);
        tokio::spawn(async move {
            while let Some(frame) = to_send.recv().await {
                if silence::write(&mut writer, &frame, silence_max).await.is_err() {
                    return;
                }
            }
        });
        let routes = Arc::new(Mutex::new(Routes::default()));
        let asking = outgoing.clone();
        let given_out = hand_out(reader, frames, Arc::clone(&routes), silence_max, asking);
        let read = tokio::spawn(given_out);
        Ok(Self { shared: Arc::new(Shared { outgoing, routes, read }) })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.shared.routes().lost
    }

    /// A stream for one check.
    pub(crate) fn open(&self, member: Member) -> DuplexStream {
        let (theirs, ours) = tokio::io::duplex(BUFFER);
        let (replies, to_answer) = mpsc::channel(REPLIES);
        let session = self.shared.routes().join(member.prefix.clone(), replies.clone());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(ours);
            tokio::select! {
                () = take_requests(&shared, session, &member, reader, replies.downgrade()) => {}
                () = async { drop(replies); give_replies(writer, to_answer).await } => {}
            }
            let detached = shared.routes().leave(session);
            for attachment in detached {
                let _ = shared.outgoing.send(encode(&Request::Detach { attachment })).await;
            }
        });
        theirs
    }
}

fn encode(request: &Request) -> Vec<u8> {
    let mut frame = Vec::new();
    request.encode(&mut frame);
    frame
}

fn lost(kind: io::ErrorKind) -> Error {
    Error::Transient {
        context: "cannot talk to the runner of checks".to_owned(),
        source: kind.into(),
    }
}

async fn greet(
    reader: &mut ReadHalf<impl RunnerStream>,
    writer: &mut WriteHalf<impl RunnerStream>,
    frames: &mut FrameBuffer,
) -> Result<()> {
    let broken = |error: io::Error| lost(error.kind());
    writer.write_all(&encode(&Request::Hello { version: VERSION })).await.map_err(broken)?;
    writer.flush().await.map_err(broken)?;
    loop {
        let reply = frames.next_frame().and_then(|frame| frame.map(Reply::decode).transpose());
        match reply.map_err(|error| Error::Protocol(error.to_string()))? {
            None => {}
            Some(Reply::Hello { version: VERSION }) => return Ok(()),
            Some(other) => {
                return Err(Error::Protocol(format!(
                    "the runner of checks does not speak version {VERSION} of the protocol: {other:?}"
                )));
            }
        }
        if reader.read_buf(frames.tail()).await.map_err(broken)? == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof));
        }
    }
}

/// Gives the runner's replies to whom they concern, until the connection ends.
async fn hand_out(
    mut reader: ReadHalf<impl RunnerStream>,
    mut frames: FrameBuffer,
    routes: Arc<Mutex<Routes>>,
    silence_max: Option<Duration>,
    outgoing: mpsc::Sender<Vec<u8>>,
) {
    // The answer goes to no check.
    let ask = || {
        let token = lock(&routes).number();
        let _ = outgoing.try_send(encode(&Request::List { token }));
    };
    loop {
        match frames.next_frame().and_then(|frame| frame.map(Reply::decode).transpose()) {
            Ok(Some(reply)) => lock(&routes).incoming(reply),
            Ok(None) => match silence::read(&mut reader, frames.tail(), silence_max, ask).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            },
            Err(error) => {
                tracing::warn!(%error, "the runner of checks cannot be understood");
                break;
            }
        }
    }
    let mut routes = lock(&routes);
    routes.lost = true;
    routes.sessions.clear();
}

/// Passes on what a check asks for until it has no more to ask.
async fn take_requests(
    shared: &Shared,
    session: u64,
    member: &Member,
    mut reader: ReadHalf<DuplexStream>,
    replies: mpsc::WeakSender<Reply>,
) {
    let mut frames = FrameBuffer::new();
    loop {
        let request = match frames.next_frame().map(|frame| frame.map(Request::decode)) {
            Ok(Some(Ok(request))) => request,
            Ok(None) => match reader.read_buf(frames.tail()).await {
                Ok(1..) => continue,
                Ok(0) | Err(_) => return,
            },
            Ok(Some(Err(error))) | Err(error) => {
                tracing::error!(%error, "a check's request cannot be understood");
                return;
            }
        };
        let passed = shared.routes().outgoing(session, member, request);
        match passed {
            Passed::On(request) => {
                if shared.outgoing.send(encode(&request)).await.is_err() {
                    return;
                }
            }
            Passed::Answered(reply) => match replies.upgrade() {
                Some(replies) => drop(replies.send(reply).await),
                None => return,
            },
            Passed::Dropped => {}
        }
    }
}

async fn give_replies(mut writer: WriteHalf<DuplexStream>, mut replies: mpsc::Receiver<Reply>) {
    while let Some(reply) = replies.recv().await {
        let mut frames = Vec::new();
        reply.encode(&mut frames);
        if writer.write_all(&frames).await.is_err() {
            return;
        }
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Passed {
    On(Request),
    Answered(Reply),
    Dropped,
}

/// Who asked for what.
#[derive(Default)]
struct Routes {
    lost: bool,
    last_number: u32,
    last_session: u64,
    sessions: HashMap<u64, Session>,
    /// By the connection's number: the session and its own number.
    tokens: HashMap<u32, (u64, u32)>,
    attachments: HashMap<u32, (u64, u32)>,
}

struct Session {
    prefix: String,
    replies: mpsc::Sender<Reply>,
}

impl Routes {
    /// A session of a lost connection ends at once.
    fn join(&mut self, prefix: String, replies: mpsc::Sender<Reply>) -> u64 {
        self.last_session += 1;
        if !self.lost {
            self.sessions.insert(self.last_session, Session { prefix, replies });
        }
        self.last_session
    }

    /// Returns the attachments to end.
    fn leave(&mut self, session: u64) -> Vec<u32> {
        self.sessions.remove(&session);
        self.tokens.retain(|_, (of, _)| *of != session);
        let open = self.attachments.iter().filter(|(_, (of, _))| *of == session);
        let open: Vec<u32> = open.map(|(number, _)| *number).collect();
        self.attachments.retain(|_, (of, _)| *of != session);
        open
    }

    fn number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }

    fn token(&mut self, session: u64, own: u32) -> u32 {
        let number = self.number();
        self.tokens.insert(number, (session, own));
        number
    }

    fn attachment(&self, session: u64, own: u32) -> Option<u32> {
        let mut found = self.attachments.iter().filter(|(_, of)| **of == (session, own));
        found.next().map(|(number, _)| *number)
    }

    fn outgoing(&mut self, session: u64, member: &Member, mut request: Request) -> Passed {
        let refused = |token: u32, message: &str| {
            let message = message.to_owned();
            Passed::Answered(Reply::Failed { token, kind: FailureKind::Other, message })
        };
        match &mut request {
            Request::Start { id, .. }
            | Request::Attach { id, .. }
            | Request::Stdin { id, .. }
            | Request::CloseStdin { id, .. }
            | Request::Signal { id, .. }
            | Request::Resize { id, .. }
            | Request::Ack { id, .. }
            | Request::Forget { id, .. } => id.insert_str(0, &member.prefix),
            _ => {}
        }
        match &mut request {
            Request::Hello { version } => {
                return Passed::Answered(Reply::Hello { version: VERSION.min(*version) });
            }
            Request::Shutdown { token, .. } => {
                return refused(*token, "other checks use this runner, too");
            }
            Request::Grant { attachment, .. } => match self.attachment(session, *attachment) {
                Some(number) => *attachment = number,
                None => return Passed::Dropped,
            },
            Request::Detach { attachment } => match self.attachment(session, *attachment) {
                Some(number) => {
                    self.attachments.remove(&number);
                    *attachment = number;
                }
                None => return Passed::Dropped,
            },
            Request::Ack { .. } => {}
            Request::Start { token, id, spec } => {
                if id.len() > MAX_ID {
                    return refused(*token, "the process's name is too long");
                }
                member.adapt(spec);
                let own = *token;
                *token = self.token(session, own);
                // The runner would end the connection of all.
                if encode(&request).len() > MAX_START_PAYLOAD {
                    return refused(own, "the process's environment and input are too large");
                }
            }
            Request::Attach { token, attachment, .. } => {
                *token = self.token(session, *token);
                let number = self.number();
                self.attachments.insert(number, (session, *attachment));
                *attachment = number;
            }
            Request::Stdin { token, .. }
            | Request::CloseStdin { token, .. }
            | Request::Signal { token, .. }
            | Request::Resize { token, .. }
            | Request::Forget { token, .. }
            | Request::List { token } => *token = self.token(session, *token),
        }
        Passed::On(request)
    }

    fn incoming(&mut self, mut reply: Reply) {
        let session = match &mut reply {
            Reply::Started { token, .. }
            | Reply::Attached { token, .. }
            | Reply::Done { token }
            | Reply::Failed { token, .. }
            | Reply::Processes { token, last: true, .. } => {
                let Some((session, own)) = self.tokens.remove(token) else { return };
                *token = own;
                session
            }
            Reply::Processes { token, last: false, .. } => {
                let Some((session, own)) = self.tokens.get(token).copied() else { return };
                *token = own;
                session
            }
            Reply::Output { attachment, .. } => {
                let Some((session, own)) = self.attachments.get(attachment).copied() else {
                    return;
                };
                *attachment = own;
                session
            }
            Reply::Exited { attachment, .. } => {
                let Some((session, own)) = self.attachments.remove(attachment) else { return };
                *attachment = own;
                session
            }
            Reply::Hello { .. } => return,
            Reply::Error { message } => {
                tracing::error!(message, "the runner of checks ends the connection");
                return;
            }
        };
        let Some(Session { prefix, replies }) = self.sessions.get(&session) else { return };
        if let Reply::Processes { processes, .. } = &mut reply {
            processes.retain_mut(|process| match process.id.strip_prefix(prefix.as_str()) {
                Some(own) => {
                    process.id = own.to_owned();
                    true
                }
                None => false,
            });
        }
        if let Err(TrySendError::Full(_)) = replies.try_send(reply) {
            tracing::error!(prefix, "the runner of checks sent more than it was granted");
            self.sessions.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests;
