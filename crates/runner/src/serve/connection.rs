//! One client.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jb_runner_protocol::{FailureKind, FrameBuffer, ProcessInfo, Reply, Request, VERSION};
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::supervisor::{Failure, Supervisor};
use crate::journal::Cursor;

/// Output is taken from journals while less than this is waiting to be sent, in bytes.
const FILL: usize = 256 << 10;
/// Requests are answered while less than this is waiting to be sent.
const FULL: usize = 1 << 20;
/// Attachments of one connection.
const MAX_ATTACHMENTS: usize = 256;
/// Processes in one frame of a list.
const LIST: usize = 1000;
/// Rounds of taking and sending output before others get their turn.
const ROUNDS: usize = 8;

pub(super) struct Connection {
    number: u64,
    stream: OwnedFd,
    incoming: FrameBuffer,
    outgoing: Vec<u8>,
    /// How much of `outgoing` was sent.
    sent: usize,
    attachments: BTreeMap<u32, Attachment>,
    greeted: bool,
    /// Output waits in a journal for the socket to take more.
    hungry: bool,
    /// Nothing is read any more; the connection is closed when everything was sent.
    closing: bool,
    open: bool,
}

struct Attachment {
    id: String,
    cursor: Cursor,
    /// Bytes that may still be sent. The last record may go beyond.
    credit: i64,
}

impl Connection {
    /// One that says `greeting` first.
    pub(super) fn new(number: u64, stream: OwnedFd, greeting: &[u8]) -> Self {
        Self {
            number,
            stream,
            incoming: FrameBuffer::new(),
            outgoing: greeting.to_vec(),
            sent: 0,
            attachments: BTreeMap::new(),
            greeted: false,
            hungry: false,
            closing: false,
            open: true,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn stream(&self) -> &OwnedFd {
        &self.stream
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    fn unsent(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.closing && self.unsent() < FULL);
        flags.set(PollFlags::OUT, self.unsent() > 0 || self.hungry);
        flags
    }

    /// What this client still reads: process and position.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&str, u64)> {
        self.attachments.values().map(|attached| (attached.id.as_str(), attached.cursor.seq()))
    }

    /// Nothing is left to tell, or the client does not want to know now.
    pub(super) fn is_idle(&self, supervisor: &Supervisor) -> bool {
        self.unsent() == 0
            && self.attachments.values().all(|attached| {
                let process = supervisor.process(&attached.id);
                process.is_none_or(|process| attached.cursor.at_end(&process.journal))
            })
    }

    pub(super) fn handle(&mut self, flags: PollFlags, scratch: &mut [u8]) {
        if flags.contains(PollFlags::IN) && !self.closing && self.unsent() < FULL {
            match rustix::io::read(&self.stream, &mut *scratch) {
                Ok(0) => self.open = false,
                Ok(n) => self.incoming.extend(&scratch[..n]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.open = false,
            }
        } else if flags.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            self.open = false;
        }
    }

    pub(super) fn answer(&mut self, reply: &Reply) {
        reply.encode(&mut self.outgoing);
    }

    /// Says what is wrong and closes.
    fn refuse(&mut self, message: String) {
        self.answer(&Reply::Error { message });
        self.closing = true;
        self.attachments.clear();
    }

    /// Answers the requests that came.
    pub(super) fn serve(&mut self, supervisor: &mut Supervisor) {
        while self.open && !self.closing && self.unsent() < FULL {
            let request = match self.incoming.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => Request::decode(frame),
                Err(error) => Err(error),
            };
            match request {
                Ok(Request::Hello { version }) if !self.greeted => self.greet(version),
                Ok(request) if self.greeted => self.request(request, supervisor),
                Ok(_) => self.refuse("say hello first".to_owned()),
                Err(error) => self.refuse(format!("cannot understand the server: {error}")),
            }
        }
    }

    fn greet(&mut self, version: u16) {
        self.greeted = true;
        self.answer(&Reply::Hello { version: VERSION });
        if version != VERSION {
            self.refuse(format!(
                "the server speaks version {version} of the protocol, this runner {VERSION}"
            ));
        }
    }

    fn request(&mut self, request: Request, supervisor: &mut Supervisor) {
        let (token, result) = match request {
            Request::Start { token, id, spec } => {
                let started = supervisor.start(&id, spec);
                let reply = |(pid, existing)| Some(Reply::Started { token, pid, existing });
                (token, started.map(reply))
            }
            Request::Attach { token, attachment, id, from_seq, window } => {
                let attached = self.attach(attachment, id, from_seq, window, supervisor);
                (token, attached.map(|first_seq| Some(Reply::Attached { token, first_seq })))
            }
            Request::Stdin { token, id, bytes } => {
                let result = stdin(supervisor, &id, &bytes, (self.number, token));
                (token, result.map(|room| room.then_some(Reply::Done { token })))
            }
            Request::CloseStdin { token, id } => {
                let closed = supervisor.known(&id).map(|process| process.close_input());
                (token, closed.map(|()| Some(Reply::Done { token })))
            }
            Request::Signal { token, id, signal, group } => {
                let result = supervisor.known(&id).and_then(|process| {
                    let sent = process.signal(signal, group);
                    sent.map_err(|error| {
                        failure(&format!("send signal {signal} to `{id}`"), &error)
                    })
                });
                (token, result.map(|()| Some(Reply::Done { token })))
            }
            Request::Resize { token, id, size } => {
                let result = supervisor.known(&id).and_then(|process| {
                    let resized = process.resize(size);
                    resized
                        .map_err(|error| failure(&format!("resize the terminal of `{id}`"), &error))
                });
                (token, result.map(|()| Some(Reply::Done { token })))
            }
            Request::Forget { token, id } => {
                (token, supervisor.forget(&id).map(|()| Some(Reply::Done { token })))
            }
            Request::List { token } => {
                self.answer_list(token, supervisor.list());
                return;
            }
            Request::Shutdown { token, grace_ms } => {
                supervisor.shut_down(Duration::from_millis(grace_ms.into()));
                (token, Ok(Some(Reply::Done { token })))
            }
            Request::Grant { attachment, bytes } => {
                if let Some(attached) = self.attachments.get_mut(&attachment) {
                    attached.credit = attached.credit.saturating_add(bytes.into());
                }
                return;
            }
            Request::Detach { attachment } => {
                self.attachments.remove(&attachment);
                supervisor.note_progress();
                return;
            }
            Request::Ack { id, seq } => return supervisor.acknowledge(&id, seq),
            Request::Hello { .. } => return self.refuse("hello was said already".to_owned()),
        };
        match result {
            Ok(None) => {}
            Ok(Some(reply)) => self.answer(&reply),
            Err((kind, message)) => self.answer(&Reply::Failed { token, kind, message }),
        }
    }

    fn answer_list(&mut self, token: u32, mut processes: Vec<ProcessInfo>) {
        loop {
            let rest = processes.split_off(processes.len().min(LIST));
            let last = rest.is_empty();
            self.answer(&Reply::Processes { token, processes, last });
            if last {
                return;
            }
            processes = rest;
        }
    }

    /// Returns the first number that will be sent.
    fn attach(
        &mut self,
        attachment: u32,
        id: String,
        from_seq: u64,
        window: u32,
        supervisor: &mut Supervisor,
    ) -> Result<u64, Failure> {
        let cursor = Cursor::new(&supervisor.known(&id)?.journal, from_seq);
        if self.attachments.len() >= MAX_ATTACHMENTS {
            let message = format!("a connection has at most {MAX_ATTACHMENTS} attachments");
            return Err((FailureKind::Other, message));
        }
        let first_seq = cursor.seq();
        self.attachments.insert(attachment, Attachment { id, cursor, credit: window.into() });
        Ok(first_seq)
    }

    /// Sends what waits, then output, as much as the socket takes in a turn. True when an attachment
    /// ended.
    pub(super) fn pump(&mut self, supervisor: &Supervisor) -> bool {
        let before = self.attachments.len();
        for _ in 0..ROUNDS {
            self.hungry = !self.closing && self.fill(supervisor);
            if !self.open || self.unsent() == 0 || !self.send() {
                break;
            }
        }
        if self.closing && self.unsent() == 0 {
            self.open = false;
        }
        self.attachments.len() != before
    }

    /// Takes output from the journals. True when there may be more of it to send.
    fn fill(&mut self, supervisor: &Supervisor) -> bool {
        let mut more = false;
        let (mut ended, mut broken) = (Vec::new(), None);
        for (number, attached) in &mut self.attachments {
            let Some(process) = supervisor.process(&attached.id) else {
                ended.push(*number);
                continue;
            };
            let room = FILL.saturating_sub(self.outgoing.len() - self.sent);
            let budget = room.min(usize::try_from(attached.credit).unwrap_or(0));
            let out = &mut self.outgoing;
            match attached.cursor.read(&process.journal, *number, budget, out) {
                Ok(n) => attached.credit -= i64::try_from(n).unwrap_or(i64::MAX),
                Err(error) => {
                    broken = Some(format!("read the journal of `{}`: {error}", attached.id));
                    break;
                }
            }
            let at_end = attached.cursor.at_end(&process.journal);
            more |= !at_end && attached.credit > 0;
            if at_end && process.finished() {
                ended.push(*number);
            }
        }
        for number in ended {
            self.attachments.remove(&number);
        }
        if let Some(message) = broken {
            self.refuse(message);
            return false;
        }
        more
    }

    /// False when the socket takes no more for now.
    fn send(&mut self) -> bool {
        while self.unsent() > 0 {
            match rustix::net::send(
                self.stream.as_fd(),
                &self.outgoing[self.sent..],
                rustix::net::SendFlags::NOSIGNAL,
            ) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // What was sent is let go of when it is worth the move.
                    if self.sent > FILL {
                        self.outgoing.drain(..self.sent);
                        self.sent = 0;
                    }
                    return false;
                }
                Err(_) => {
                    self.open = false;
                    return false;
                }
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        if self.outgoing.capacity() > 2 * FULL {
            self.outgoing = Vec::new();
        }
        true
    }
}

/// True when there is room for more at once.
fn stdin(
    supervisor: &mut Supervisor,
    id: &str,
    bytes: &[u8],
    waiter: (u64, u32),
) -> Result<bool, Failure> {
    let process = supervisor.known(id)?;
    let room = process.push_input(bytes, waiter).map_err(|why| (FailureKind::Other, why))?;
    process.write_input();
    Ok(room)
}

fn failure(what: &str, error: &std::io::Error) -> Failure {
    (FailureKind::Other, format!("{what}: {error}"))
}
