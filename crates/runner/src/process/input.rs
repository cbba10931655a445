//! What a process still has to read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Input up to this many bytes is taken at once; who sends more waits for its answer.
const ROOM: usize = 256 << 10;
/// More than this is refused: the sender does not wait for answers.
const LIMIT: usize = 8 << 20;
/// The character that ends the input at a terminal.
const END_OF_FILE: u8 = 4;

/// Who is told when there is room again: a connection and its token.
pub(crate) type Waiter = (u64, u32);

pub(crate) struct Input {
    fd: OwnedFd,
    terminal: bool,
    queue: Vec<u8>,
    /// How much of the queue was written.
    written: usize,
    /// The last byte that was queued, now or earlier, did not end a line.
    mid_line: bool,
    /// Nothing comes after the queue.
    closed: bool,
    waiters: Vec<Waiter>,
}

impl Input {
    pub(crate) fn open(fd: OwnedFd, terminal: bool) -> Self {
        Self {
            fd,
            terminal,
            queue: Vec::new(),
            written: 0,
            mid_line: false,
            closed: false,
            waiters: Vec::new(),
        }
    }

    pub(crate) fn data(fd: OwnedFd, terminal: bool, bytes: Vec<u8>) -> Self {
        let mut input = Self::fed(fd, terminal, bytes);
        input.close();
        input
    }

    /// Bytes to begin with, after which more may come.
    pub(crate) fn fed(fd: OwnedFd, terminal: bool, bytes: Vec<u8>) -> Self {
        let mut input = Self::open(fd, terminal);
        input.mid_line = ends_mid_line(&bytes, false);
        input.queue = bytes;
        input
    }

    pub(crate) fn ended(fd: OwnedFd, terminal: bool) -> Self {
        Self::data(fd, terminal, Vec::new())
    }

    fn queued(&self) -> usize {
        self.queue.len() - self.written
    }

    /// True when there is room for more now; otherwise `waiter` is told later.
    pub(crate) fn push(&mut self, bytes: &[u8], waiter: Waiter) -> Result<bool, String> {
        if self.closed {
            return Ok(true);
        }
        if self.queued() + bytes.len() > LIMIT {
            return Err("too much input at once: wait for each answer".to_owned());
        }
        self.queue.drain(..self.written);
        self.written = 0;
        self.queue.extend_from_slice(bytes);
        self.mid_line = ends_mid_line(bytes, self.mid_line);
        let room = self.queued() <= ROOM;
        if !room {
            self.waiters.push(waiter);
        }
        Ok(room)
    }

    pub(crate) fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        if self.terminal {
            // In the middle of a line the first one only ends the line.
            self.queue.extend(std::iter::repeat_n(END_OF_FILE, 1 + usize::from(self.mid_line)));
        }
    }

    /// The descriptor, when there is something to write to it.
    pub(crate) fn writable(&self) -> Option<BorrowedFd<'_>> {
        (self.queued() > 0).then(|| self.fd.as_fd())
    }

    /// Writes what it can. False when nothing more can ever be written: the input is to be dropped.
    pub(crate) fn write(&mut self) -> bool {
        while self.queued() > 0 {
            match rustix::io::write(&self.fd, &self.queue[self.written..]) {
                Ok(n) => self.written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        if self.queued() == 0 {
            self.queue = Vec::new();
            self.written = 0;
        }
        !(self.closed && self.queued() == 0)
    }

    /// Those who waited for room that is there now.
    pub(crate) fn relieved(&mut self) -> Vec<Waiter> {
        if self.queued() <= ROOM { std::mem::take(&mut self.waiters) } else { Vec::new() }
    }

    /// Those who wait still.
    pub(crate) fn into_waiters(self) -> Vec<Waiter> {
        self.waiters
    }
}

fn ends_mid_line(bytes: &[u8], before: bool) -> bool {
    bytes.last().map_or(before, |byte| *byte != b'\n')
}
