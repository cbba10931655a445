//! The runner's side of a stream: answers requests and sends journals, as the real one does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jb_model::ContainerHandle;
use jb_runner_protocol::{FailureKind, FrameBuffer, Reply, Request, VERSION};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::process::{Exit, Process, Record, start};
use super::{Fate, Inner, State};

/// Bytes made ready before they are sent.
const FILL: usize = 256 << 10;

type Failure = (FailureKind, String);

/// Serves one stream until either side is gone.
pub(super) async fn serve(
    inner: Arc<Inner>,
    container: ContainerHandle,
    epoch: u64,
    stream: DuplexStream,
) {
    let mut connection =
        Connection { inner, container, epoch, attachments: BTreeMap::new(), out: Vec::new() };
    connection.serve(stream).await;
}

struct Attachment {
    process: String,
    next: u64,
    /// Bytes that may still be sent. The last record may go beyond.
    credit: i64,
}

struct Connection {
    inner: Arc<Inner>,
    container: ContainerHandle,
    epoch: u64,
    attachments: BTreeMap<u32, Attachment>,
    out: Vec<u8>,
}

impl Connection {
    async fn serve(&mut self, mut stream: DuplexStream) {
        let mut frames = FrameBuffer::new();
        let mut changed = self.inner.changed.subscribe();
        loop {
            changed.borrow_and_update();
            loop {
                match frames.next_frame().map(|frame| frame.map(Request::decode)) {
                    Ok(None) => break,
                    Ok(Some(Ok(request))) => self.request(request).await,
                    Ok(Some(Err(error))) | Err(error) => {
                        let message = format!("cannot understand the server: {error}");
                        Reply::Error { message }.encode(&mut self.out);
                        let _ = stream.write_all(&self.out).await;
                        return;
                    }
                }
            }
            let Some(more) = self.fill() else { return };
            let out = std::mem::take(&mut self.out);
            if stream.write_all(&out).await.is_err() {
                return;
            }
            if more {
                continue;
            }
            tokio::select! {
                read = stream.read_buf(frames.tail()) => {
                    if !matches!(read, Ok(1..)) { return; }
                }
                _ = changed.changed() => {}
            }
        }
    }

    async fn request(&mut self, request: Request) {
        let fate = self.inner.fate(name(&request), self.container.as_str());
        if let Fate::Fails(error) = fate {
            if let Some(token) = token(&request) {
                let reply =
                    Reply::Failed { token, kind: FailureKind::Other, message: error.to_string() };
                reply.encode(&mut self.out);
            }
            return;
        }
        let reply = self.perform(request);
        if matches!(fate, Fate::Unanswered) {
            std::future::pending::<()>().await;
        }
        if let Some(reply) = reply {
            reply.encode(&mut self.out);
        }
    }

    fn perform(&mut self, request: Request) -> Option<Reply> {
        let (token, result) = match request {
            Request::Hello { .. } => return Some(Reply::Hello { version: VERSION }),
            Request::Start { token, id, spec } => {
                let started = start(&self.inner, &self.container, &id, spec);
                let reply = |(pid, existing)| Reply::Started { token, pid, existing };
                (token, started.map(reply))
            }
            Request::Attach { token, attachment, id, from_seq, window } => {
                let attached = self.with(&id, |process| {
                    Ok(from_seq.clamp(process.first, process.next_seq().max(process.first)))
                });
                let attached = attached.map(|first_seq| {
                    let credit = i64::from(window);
                    let follow = Attachment { process: id, next: first_seq, credit };
                    self.attachments.insert(attachment, follow);
                    Reply::Attached { token, first_seq }
                });
                (token, attached)
            }
            Request::Grant { attachment, bytes } => {
                if let Some(attached) = self.attachments.get_mut(&attachment) {
                    attached.credit = attached.credit.saturating_add(bytes.into());
                }
                return None;
            }
            Request::Detach { attachment } => {
                self.attachments.remove(&attachment);
                return None;
            }
            Request::Ack { id, seq } => {
                let _ = self.with(&id, |process| {
                    process.acknowledge(seq);
                    Ok(())
                });
                return None;
            }
            Request::List { token } => {
                let processes = self.inner.change(|state| {
                    let container = state.containers.get(&self.container);
                    let all = container.into_iter().flat_map(|container| &container.processes);
                    all.map(|(id, process)| process.info(id)).collect()
                });
                return Some(Reply::Processes { token, processes, last: true });
            }
            Request::Stdin { token, id, bytes } => {
                (token, self.done(token, &id, |process| process.input.extend(bytes)))
            }
            Request::CloseStdin { token, id } => {
                (token, self.done(token, &id, |process| process.input_closed = true))
            }
            Request::Signal { token, id, signal, .. } => {
                (token, self.done(token, &id, |process| process.signals.push(signal)))
            }
            Request::Resize { token, id, .. } => (token, self.done(token, &id, |_| ())),
            Request::Forget { token, id } => (token, self.forget(token, &id)),
            Request::Shutdown { token, grace_ms } => {
                self.shut_down(Duration::from_millis(grace_ms.into()));
                (token, Ok(Reply::Done { token }))
            }
        };
        let failed = |(kind, message)| Reply::Failed { token, kind, message };
        Some(result.unwrap_or_else(failed))
    }

    fn with<T>(
        &self,
        id: &str,
        act: impl FnOnce(&mut Process) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.inner.change(|state| {
            let container = state.containers.get_mut(&self.container);
            let process = container.and_then(|container| container.processes.get_mut(id));
            act(process.ok_or_else(|| {
                (FailureKind::NoProcess, format!("process `{id}` does not exist"))
            })?)
        })
    }

    fn done(&self, token: u32, id: &str, act: impl FnOnce(&mut Process)) -> Result<Reply, Failure> {
        self.with(id, |process| {
            act(process);
            Ok(Reply::Done { token })
        })
    }

    fn forget(&self, token: u32, id: &str) -> Result<Reply, Failure> {
        self.with(id, |process| match process.ended() {
            true => Ok(()),
            false => Err((FailureKind::Other, format!("process `{id}` is still running"))),
        })?;
        self.inner.change(|state| {
            if let Some(container) = state.containers.get_mut(&self.container) {
                container.processes.remove(id);
            }
        });
        Ok(Reply::Done { token })
    }

    /// Asks every process to end, and makes it after `grace`; the runner ends with the last of them.
    fn shut_down(&self, grace: Duration) {
        let (inner, handle) = (Arc::clone(&self.inner), self.container.clone());
        inner.change(|state| state.signal_all(&handle, 15));
        tokio::spawn(async move {
            let ended = || inner.until(|state| state.all_ended(&handle).then_some(()));
            if tokio::time::timeout(grace, ended()).await.is_err() {
                inner.change(|state| state.signal_all(&handle, 9));
                ended().await;
            }
            inner.change(|state| {
                if let Some(container) = state.containers.get_mut(&handle) {
                    container.running = false;
                }
            });
        });
    }

    /// Adds output to send; says whether there is more, nothing when the stream is to end.
    fn fill(&mut self) -> Option<bool> {
        let state = self.inner.lock();
        let container = state.containers.get(&self.container)?;
        if !container.running || container.epoch != self.epoch {
            return None;
        }
        let mut ended = Vec::new();
        let mut more = false;
        for (number, attached) in &mut self.attachments {
            let Some(process) = container.processes.get(&attached.process) else {
                ended.push(*number);
                continue;
            };
            while let Some(next) = process.record(attached.next) {
                if attached.credit <= 0 {
                    break;
                }
                if self.out.len() >= FILL {
                    more = true;
                    break;
                }
                let before = self.out.len();
                record_reply(*number, attached.next, next).encode(&mut self.out);
                attached.credit -= i64::try_from(self.out.len() - before).unwrap_or(i64::MAX);
                attached.next += 1;
            }
            if process.ended() && attached.next >= process.next_seq() {
                ended.push(*number);
            }
        }
        for number in ended {
            self.attachments.remove(&number);
        }
        Some(more)
    }
}

impl State {
    fn signal_all(&mut self, container: &ContainerHandle, signal: i32) {
        if let Some(container) = self.containers.get_mut(container) {
            container.processes.values_mut().for_each(|process| process.signals.push(signal));
        }
    }

    fn all_ended(&self, container: &ContainerHandle) -> bool {
        let container = self.containers.get(container);
        container.is_none_or(|container| container.processes.values().all(Process::ended))
    }
}

fn record_reply(attachment: u32, seq: u64, kept: &Record) -> Reply {
    let time_us = 0;
    match kept {
        Record::Output { stream, bytes } => {
            Reply::Output { attachment, seq, time_us, stream: *stream, bytes: bytes.clone() }
        }
        Record::Exit(Exit { status, signal, oom }) => {
            Reply::Exited { attachment, seq, time_us, status: *status, signal: *signal, oom: *oom }
        }
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::Start { .. } => "start",
        Request::Attach { .. } => "attach",
        Request::Grant { .. } => "grant",
        Request::Detach { .. } => "detach",
        Request::Stdin { .. } => "stdin",
        Request::CloseStdin { .. } => "close_stdin",
        Request::Signal { .. } => "signal",
        Request::Resize { .. } => "resize",
        Request::Ack { .. } => "ack",
        Request::Forget { .. } => "forget",
        Request::List { .. } => "list",
        Request::Shutdown { .. } => "shutdown",
    }
}

fn token(request: &Request) -> Option<u32> {
    match request {
        Request::Start { token, .. }
        | Request::Attach { token, .. }
        | Request::Stdin { token, .. }
        | Request::CloseStdin { token, .. }
        | Request::Signal { token, .. }
        | Request::Resize { token, .. }
        | Request::Forget { token, .. }
        | Request::List { token }
        | Request::Shutdown { token, .. } => Some(*token),
        Request::Hello { .. }
        | Request::Grant { .. }
        | Request::Detach { .. }
        | Request::Ack { .. } => None,
    }
}
