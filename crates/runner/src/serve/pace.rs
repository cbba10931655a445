//! Lets output that comes in small pieces gather.
//!
//! A program on a terminal writes line by line. A reader that is woken for each line makes a record,
//! a write to disk and a message of each, and keeps the program from running; one that waits for a
//! moment finds many lines at once.

use std::time::{Duration, Instant};

/// A piece of this many bytes or more shows that there is enough to do without waiting.
const LARGE: u64 = 4 << 10;
/// Pieces that come this close to each other are many; a single one is passed on at once.
const BUSY: Duration = Duration::from_millis(2);
/// How long output is left to gather. A terminal holds about 8 KiB: longer would slow programs down.
const GATHER: Duration = Duration::from_micros(250);

/// When output is read next.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Pace {
    /// A piece of output was taken.
    pub(super) fn note(&mut self, bytes: u64, now: Instant) {
        let last = self.last.replace(now);
        let is_busy = last.is_some_and(|last| now.saturating_duration_since(last) < BUSY);
        self.until = (is_busy && bytes < LARGE).then(|| now + GATHER);
    }

    /// Until when output is left alone, if it is.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests;
