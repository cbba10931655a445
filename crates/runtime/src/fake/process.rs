//! Processes of a fake container: their journals, signals and ends.

use std::sync::Arc;

use jb_model::ContainerHandle;
use jb_runner_protocol::{
    FailureKind, MAX_CHUNK, ProcessInfo, ProcessSpec, ProcessState, Stdin, Stream,
};

use super::{Inner, State, agent, resource, shell};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub status: i32,
    /// 0 unless one ended it.
    pub signal: i32,
    pub oom: bool,
}

impl Exit {
    pub(super) fn status(status: i32) -> Self {
        Self { status, signal: 0, oom: false }
    }

    pub(super) fn signalled(signal: i32) -> Self {
        Self { status: 128 + signal, signal, oom: false }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Record {
    Output { stream: Stream, bytes: Vec<u8> },
    Exit(Exit),
}

pub(super) struct Process {
    pub(super) spec: ProcessSpec,
    pid: u32,
    /// The number of the first record that is still there.
    pub(super) first: u64,
    pub(super) records: Vec<Record>,
    exit: Option<Exit>,
    /// Signals that the program has not seen yet.
    pub(super) signals: Vec<i32>,
    pub(super) input: Vec<u8>,
    pub(super) input_closed: bool,
}

impl Process {
    pub(super) fn next_seq(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    pub(super) fn ended(&self) -> bool {
        self.exit.is_some()
    }

    /// The record of a number, if it is there.
    pub(super) fn record(&self, seq: u64) -> Option<&Record> {
        self.records.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Deletes everything up to and including `seq`.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        let upto = seq.saturating_add(1).min(self.next_seq());
        if upto > self.first {
            self.records.drain(..usize::try_from(upto - self.first).unwrap_or(usize::MAX));
            self.first = upto;
        }
    }

    pub(super) fn info(&self, id: &str) -> ProcessInfo {
        ProcessInfo {
            id: id.to_owned(),
            state: match self.exit {
                None => ProcessState::Running { pid: self.pid },
                Some(Exit { status, signal, oom }) => ProcessState::Exited { status, signal, oom },
            },
            next_seq: self.next_seq(),
            unacknowledged_seq: self.first,
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.ended() {
            return;
        }
        let (stream, bytes) = match self.spec.tty {
            Some(_) => (Stream::Stdout, on_terminal(bytes)),
            None => (stream, bytes.to_vec()),
        };
        for chunk in bytes.chunks(MAX_CHUNK) {
            self.records.push(Record::Output { stream, bytes: chunk.to_vec() });
        }
    }

    fn end(&mut self, exit: Exit) {
        if !self.ended() {
            self.records.push(Record::Exit(exit));
            self.exit = Some(exit);
        }
    }
}

/// A terminal turns a line end into a return and a line end.
fn on_terminal(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}

/// Starts a process, or finds it: its number and whether it was there.
pub(super) fn start(
    inner: &Arc<Inner>,
    container: &ContainerHandle,
    id: &str,
    spec: ProcessSpec,
) -> Result<(u32, bool), (FailureKind, String)> {
    let gone = || (FailureKind::Other, format!("container `{container}` is gone"));
    let found = inner.change(|state| {
        let started = state.started.len();
        let inside = state.containers.get_mut(container).ok_or_else(gone)?;
        if let Some(process) = inside.processes.get(id) {
            return Ok((if process.ended() { 0 } else { process.pid }, true));
        }
        let known = resource::is_script(&spec.path)
            || agent::is_agent(&spec.path)
            || shell::knows(&spec.path);
        if !known {
            return Err((FailureKind::ExecutableNotFound, format!("`{}` not found", spec.path)));
        }
        if spec.create_dir {
            inside.root.make_dir(&spec.dir);
        }
        let (input, input_closed) = match &spec.stdin {
            Stdin::Null => (Vec::new(), true),
            Stdin::Open => (Vec::new(), false),
            Stdin::Data(bytes) => (bytes.clone(), true),
            Stdin::Fed(bytes) => (bytes.clone(), false),
        };
        let pid = u32::try_from(started + 2).unwrap_or(u32::MAX);
        let process = Process {
            spec,
            pid,
            first: 0,
            records: Vec::new(),
            exit: None,
            signals: Vec::new(),
            input,
            input_closed,
        };
        inside.processes.insert(id.to_owned(), process);
        state.started.push((container.clone(), id.to_owned()));
        Ok((pid, false))
    })?;
    if !found.1 {
        let program =
            Program { inner: Arc::clone(inner), container: container.clone(), id: id.to_owned() };
        tokio::spawn(async move { program.run().await });
    }
    Ok(found)
}

/// A running program's view of its process.
pub(super) struct Program {
    pub(super) inner: Arc<Inner>,
    pub(super) container: ContainerHandle,
    id: String,
}

/// Why a program cannot go on.
pub(super) enum Stop {
    Signal(i32),
    /// The container is gone, and the process with it.
    Gone,
}

impl Program {
    async fn run(self) {
        let Some(spec) = self.with(|process| process.spec.clone()) else { return };
        let ended = if resource::is_script(&spec.path) {
            resource::run(&self, &spec).await
        } else if agent::is_agent(&spec.path) {
            agent::run(&self, &spec).await
        } else {
            shell::run(&self, &spec).await
        };
        match ended {
            Ok(exit) => drop(self.with(|process| process.end(exit))),
            Err(Stop::Signal(signal)) => {
                self.with(|process| process.end(Exit::signalled(signal)));
            }
            Err(Stop::Gone) => {}
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Process) -> T) -> Option<T> {
        self.inner.change(|state| Some(act(self.process(state)?)))
    }

    fn process<'a>(&self, state: &'a mut State) -> Option<&'a mut Process> {
        state.containers.get_mut(&self.container)?.processes.get_mut(&self.id)
    }

    pub(super) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.with(|process| process.write(stream, bytes));
    }

    /// A signal that came, unless it is only looked for one that cannot be caught.
    pub(super) fn take_signal(&self, catches_term: bool) -> Result<Option<i32>, Stop> {
        let taken = self.with(|process| take_signal(process, catches_term));
        taken.unwrap_or(Err(Stop::Gone))
    }

    /// Waits until a name is released; a signal that is caught ends the waiting.
    pub(super) async fn sleep(&self, name: &str, catches_term: bool) -> Result<Option<i32>, Stop> {
        if self.inner.timed {
            let seconds = name.parse().unwrap_or(0.0);
            let duration = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let signal = self.inner.until(|state| self.signal(state, catches_term));
            return tokio::select! {
                () = tokio::time::sleep(duration) => Ok(None),
                signal = signal => signal,
            };
        }
        let awaken = |state: &mut State| {
            let released = state.released.contains(name).then_some(Ok(None));
            self.signal(state, catches_term).or(released)
        };
        self.inner.until(awaken).await
    }

    fn signal(&self, state: &mut State, catches_term: bool) -> Option<Result<Option<i32>, Stop>> {
        let Some(process) = self.process(state) else { return Some(Err(Stop::Gone)) };
        match take_signal(process, catches_term) {
            Ok(None) => None,
            seen => Some(seen),
        }
    }

    /// Everything on standard input until its end.
    pub(super) async fn input(&self) -> Result<Vec<u8>, Stop> {
        self.inner
            .until(|state| {
                if let Some(stop) = self.signal(state, false) {
                    return Some(stop.map(|_| Vec::new()));
                }
                let process = self.process(state)?;
                process.input_closed.then(|| Ok(std::mem::take(&mut process.input)))
            })
            .await
    }

    /// The next line of standard input, or what is left of it.
    pub(super) async fn input_line(&self) -> Result<Vec<u8>, Stop> {
        self.inner
            .until(|state| {
                if let Some(stop) = self.signal(state, false) {
                    return Some(stop.map(|_| Vec::new()));
                }
                let process = self.process(state)?;
                let end = process.input.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
                let end = end.or_else(|| process.input_closed.then_some(process.input.len()))?;
                Some(Ok(process.input.drain(..end).collect()))
            })
            .await
    }

    pub(super) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut state = self.inner.lock();
        let (tree, rest) = state.place(&self.container, path)?;
        tree.read(rest).map(<[u8]>::to_vec)
    }

    pub(super) fn write_file(&self, path: &str, content: Vec<u8>) {
        self.inner.change(|state| {
            if let Some((tree, rest)) = state.place(&self.container, path) {
                tree.write(rest, content);
            }
        });
    }

    /// Says whether there was something to remove.
    pub(super) fn remove(&self, path: &str) -> bool {
        self.inner.change(|state| {
            let place = state.place(&self.container, path);
            place.is_some_and(|(tree, rest)| tree.remove(rest))
        })
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        let mut state = self.inner.lock();
        let place = state.place(&self.container, path);
        place.is_some_and(|(tree, rest)| rest.is_empty() || tree.has(rest))
    }

    pub(super) fn make_dir(&self, path: &str) {
        self.inner.change(|state| {
            if let Some((tree, rest)) = state.place(&self.container, path) {
                tree.make_dir(rest);
            }
        });
    }

    pub(super) fn list_dir(&self, path: &str) -> Option<Vec<String>> {
        self.inner.lock().list_dir(&self.container, path)
    }

    /// The container vanishes with this very process.
    pub(super) fn lose_container(&self) {
        self.inner.change(|state| state.remove(&self.container));
    }
}

fn take_signal(process: &mut Process, catches_term: bool) -> Result<Option<i32>, Stop> {
    if process.signals.contains(&SIGKILL) {
        return Err(Stop::Signal(SIGKILL));
    }
    let Some(signal) = process.signals.pop() else { return Ok(None) };
    if signal == SIGTERM && catches_term { Ok(Some(signal)) } else { Err(Stop::Signal(signal)) }
}
