//! One process: its journal, its output on the way there, its input, its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jb_runner_protocol::record::{self, Exit, MAX_RECORD, OUTPUT_HEADER};
use jb_runner_protocol::{
    MAX_CHUNK, ProcessInfo, ProcessSpec, ProcessState, Stdin, Stream, WindowSize,
};
use rustix::io::Errno;

use crate::journal::Journal;
use crate::sys;

mod child;
mod input;
mod spawn;
#[cfg(test)]
mod tests;

use input::Input;
pub(crate) use input::Waiter;
pub(crate) use spawn::SpawnError;

/// After the process ended, how long its leftover children may still write to its output.
const DRAIN: Duration = Duration::from_millis(300);
/// When a journal could not be written to, when to try again.
const RETRY: Duration = Duration::from_millis(500);
/// Records taken from one stream before others get their turn.
const TURN: usize = 16;
/// Records taken from one stream when the process ended: more than any pipe holds.
const LAST_TURN: usize = 64;

pub(crate) struct Process {
    pid: i32,
    pub(crate) journal: Journal,
    /// The first number that was not acknowledged.
    pub(crate) unacknowledged: u64,
    /// Open ends of stdout (or the terminal) and stderr.
    outputs: [Option<OwnedFd>; 2],
    tty: Option<OwnedFd>,
    input: Option<Input>,
    /// Those who waited to send more input and shall be told to go on.
    pub(crate) relieved: Vec<Waiter>,
    /// A record that the journal did not take yet, and when to try again.
    stuck: Option<(Vec<u8>, Instant)>,
    /// How it ended, while output is still drained.
    ended: Option<Ended>,
    /// Memory kills in the container when it started.
    kills_before: u64,
}

struct Ended {
    exit: Exit,
    deadline: Instant,
    /// Everything the process itself wrote was read.
    drained: bool,
}

enum Taken {
    /// More may be there.
    Some,
    /// For now.
    Nothing,
    /// For ever.
    End,
    /// The journal did not take it.
    Stuck,
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

impl Process {
    /// Starts a process with an empty journal.
    pub(crate) fn start(
        spec: ProcessSpec,
        journal: Journal,
        kills_before: u64,
    ) -> Result<Self, (Journal, SpawnError)> {
        let spawned = match spawn::spawn(&spec) {
            Ok(spawned) => spawned,
            Err(error) => return Err((journal, error)),
        };
        let input = match (spec.stdin, spawned.stdin) {
            (Stdin::Null, Some(terminal)) => Some(Input::ended(terminal, true)),
            (_, None) => None,
            (Stdin::Open, Some(fd)) => Some(Input::open(fd, spec.tty.is_some())),
            (Stdin::Data(bytes), Some(fd)) => Some(Input::data(fd, spec.tty.is_some(), bytes)),
            (Stdin::Fed(bytes), Some(fd)) => Some(Input::fed(fd, spec.tty.is_some(), bytes)),
        };
        Ok(Self {
            pid: spawned.pid,
            journal,
            unacknowledged: 0,
            outputs: [Some(spawned.stdout), spawned.stderr],
            tty: spawned.tty,
            input,
            relieved: Vec::new(),
            stuck: None,
            ended: None,
            kills_before,
        })
    }

    /// A process that a former runner left. One without an exit ended with that runner: the kernel
    /// kills what is left when process 1 ends.
    pub(crate) fn recovered(mut journal: Journal) -> io::Result<Self> {
        if journal.exit().is_none() {
            let exit = Exit { status: 128 + libc::SIGKILL, signal: libc::SIGKILL, oom: false };
            journal.append_exit(now_us(), exit)?;
        }
        Ok(Self {
            pid: 0,
            unacknowledged: journal.first_seq(),
            journal,
            outputs: [None, None],
            tty: None,
            input: None,
            relieved: Vec::new(),
            stuck: None,
            ended: None,
            kills_before: 0,
        })
    }

    /// `None` once it ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        Some(self.pid).filter(|_| self.ended.is_none() && self.journal.exit().is_none())
    }

    /// Its exit is in the journal.
    pub(crate) fn finished(&self) -> bool {
        self.journal.exit().is_some()
    }

    pub(crate) fn fully_acknowledged(&self) -> bool {
        self.finished() && self.unacknowledged >= self.journal.next_seq()
    }

    pub(crate) fn info(&self, id: &str) -> ProcessInfo {
        let state = match self.journal.exit() {
            Some(Exit { status, signal, oom }) => ProcessState::Exited { status, signal, oom },
            None => ProcessState::Running { pid: self.pid.cast_unsigned() },
        };
        ProcessInfo {
            id: id.to_owned(),
            state,
            next_seq: self.journal.next_seq(),
            unacknowledged_seq: self.unacknowledged,
        }
    }

    /// To the process or its group. Nothing happens to one that ended.
    pub(crate) fn signal(&self, signal: i32, group: bool) -> io::Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        match sys::kill(if group { -pid } else { pid }, signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn resize(&self, size: WindowSize) -> io::Result<()> {
        match &self.tty {
            Some(tty) => Ok(rustix::termios::tcsetwinsize(tty, spawn::winsize(size))?),
            None => Ok(()),
        }
    }

    /// True when more may be sent at once; otherwise `waiter` is among the relieved later. Input to a
    /// process that does not read any more goes nowhere.
    pub(crate) fn push_input(&mut self, bytes: &[u8], waiter: Waiter) -> Result<bool, String> {
        match &mut self.input {
            Some(input) => input.push(bytes, waiter),
            None => Ok(true),
        }
    }

    pub(crate) fn close_input(&mut self) {
        if let Some(input) = &mut self.input {
            input.close();
        }
        self.write_input();
    }

    /// The input to wait for, when there is something to write.
    pub(crate) fn writable(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref()?.writable()
    }

    pub(crate) fn write_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        if input.write() {
            self.relieved.extend(input.relieved());
        } else {
            self.drop_input();
        }
    }

    fn drop_input(&mut self) {
        self.relieved.extend(self.input.take().map(Input::into_waiters).unwrap_or_default());
    }

    /// The streams to wait for, none while the journal cannot take more or has more than `limit` bytes.
    pub(crate) fn readable(&self, limit: u64) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let held = self.stuck.is_some() || self.journal.size() > limit;
        let open = self.outputs.iter().enumerate();
        open.filter(move |_| !held).filter_map(|(index, fd)| Some((index, fd.as_ref()?.as_fd())))
    }

    /// Moves what is there from a stream to the journal, and says how many bytes it wrote there.
    /// `scratch` holds one record.
    pub(crate) fn read(&mut self, index: usize, scratch: &mut [u8; MAX_RECORD]) -> u64 {
        let before = self.journal.size();
        self.read_turn(index, TURN, scratch);
        self.journal.size() - before
    }

    /// False when more may be there.
    fn read_turn(&mut self, index: usize, turn: usize, scratch: &mut [u8; MAX_RECORD]) -> bool {
        for _ in 0..turn {
            match self.take(index, scratch) {
                Taken::Some => {}
                Taken::Nothing => return true,
                Taken::End => {
                    self.outputs[index] = None;
                    return true;
                }
                Taken::Stuck => return false,
            }
        }
        // A whole last turn is more than the process itself can have left.
        turn == LAST_TURN
    }

    fn take(&mut self, index: usize, scratch: &mut [u8; MAX_RECORD]) -> Taken {
        let Some(fd) = &self.outputs[index] else { return Taken::End };
        let mut length = 0;
        let mut last = Taken::Some;
        // A terminal gives at most 4 KiB at once.
        while length < MAX_CHUNK {
            match rustix::io::read(fd, &mut scratch[OUTPUT_HEADER + length..]) {
                Ok(0) => last = Taken::End,
                Ok(n) => {
                    length += n;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => last = Taken::Nothing,
                // EIO: every program that had the terminal is gone.
                Err(_) => last = Taken::End,
            }
            break;
        }
        if length == 0 {
            return last;
        }
        let Some(header) = scratch.first_chunk_mut() else { return Taken::End };
        let seq = self.journal.next_seq();
        record::write_output_header(header, seq, now_us(), STREAMS[index], length);
        let record = &scratch[..OUTPUT_HEADER + length];
        if self.journal.append(record).is_err() {
            // The process waits, since its output is not read any more until this is written.
            self.stuck = Some((record.to_vec(), Instant::now() + RETRY));
            return Taken::Stuck;
        }
        last
    }

    /// The process was reaped.
    pub(crate) fn end(
        &mut self,
        (status, signal): (i32, i32),
        kills_now: u64,
        scratch: &mut [u8; MAX_RECORD],
    ) {
        let killed = status == 128 + libc::SIGKILL;
        let oom = killed && kills_now > self.kills_before;
        let exit = Exit { status, signal, oom };
        self.drop_input();
        self.ended = Some(Ended { exit, deadline: Instant::now() + DRAIN, drained: false });
        self.advance(scratch);
    }

    /// Does what has become due. Call at [`Self::deadline`] and after anything was read.
    pub(crate) fn advance(&mut self, scratch: &mut [u8; MAX_RECORD]) {
        if let Some((record, retry)) = self.stuck.take() {
            if Instant::now() < retry {
                self.stuck = Some((record, retry));
                return;
            }
            if self.journal.append(&record).is_err() {
                self.stuck = Some((record, Instant::now() + RETRY));
                return;
            }
        }
        let Some(ended) = &self.ended else { return };
        if !ended.drained {
            let drained = [0, 1].map(|index| self.read_turn(index, LAST_TURN, scratch));
            if let (Some(ended), [true, true]) = (&mut self.ended, drained) {
                ended.drained = true;
            }
        }
        let closed = self.outputs.iter().all(Option::is_none);
        let Some(ended) = &self.ended else { return };
        if !ended.drained || self.stuck.is_some() || !(closed || Instant::now() >= ended.deadline) {
            return;
        }
        match self.journal.append_exit(now_us(), ended.exit) {
            Ok(()) => {
                self.outputs = [None, None];
                self.tty = None;
                self.ended = None;
            }
            Err(_) => {
                if let Some(ended) = &mut self.ended {
                    ended.deadline = Instant::now() + RETRY;
                }
            }
        }
    }

    /// When [`Self::advance`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let stuck = self.stuck.as_ref().map(|(_, retry)| *retry);
        stuck.or_else(|| self.ended.as_ref().map(|ended| ended.deadline))
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
