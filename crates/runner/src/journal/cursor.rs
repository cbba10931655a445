//! A place in a journal, moving on as records are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use jb_runner_protocol::record;

use super::{Journal, READ, damaged};

pub(crate) struct Cursor {
    /// The next record to read.
    seq: u64,
    open: Option<Open>,
}

struct Open {
    first_seq: u64,
    file: Rc<File>,
    /// Where the next record starts.
    offset: u64,
}

impl Cursor {
    /// At `seq`, or at the first record that is still there.
    pub(crate) fn new(journal: &Journal, seq: u64) -> Self {
        Self { seq: seq.max(journal.first_seq()), open: None }
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn at_end(&self, journal: &Journal) -> bool {
        self.seq >= journal.next_seq
    }

    /// What it would read next was acknowledged by another reader, and deleted.
    pub(crate) fn is_behind(&self, journal: &Journal) -> bool {
        self.seq < journal.first_seq()
    }

    /// Appends whole records to `out`, for the given attachment, until `budget` bytes are reached
    /// or passed, the journal ends or a segment does. Returns the bytes appended. An error when the
    /// next record is not there any more.
    pub(crate) fn read(
        &mut self,
        journal: &Journal,
        attachment: u32,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        if self.is_behind(journal) {
            // Else a deleted file keeps its disk.
            self.open = None;
            let message = format!("record {} was acknowledged and is deleted", self.seq);
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        if self.at_end(journal) || budget == 0 {
            return Ok(0);
        }
        let Some(segment) = journal.segment_of(self.seq) else { return Ok(0) };
        if self.open.as_ref().is_none_or(|open| open.first_seq != segment.first_seq) {
            let file = journal.open_segment(segment)?;
            self.open = Some(Open { first_seq: segment.first_seq, file, offset: 0 });
        }
        let Some(open) = &mut self.open else { return Ok(0) };
        let start = out.len();
        let mut appended = 0;
        while appended == 0 {
            let left = usize::try_from(segment.length - open.offset).unwrap_or(usize::MAX);
            let length = left.min(budget.max(READ));
            out.resize(start + length, 0);
            if let Err(error) = open.file.read_exact_at(&mut out[start..], open.offset) {
                out.truncate(start);
                return Err(error);
            }
            let (mut at, mut skipped) = (0, 0);
            while appended < budget {
                let Ok(Some(record)) = record::parse(&out[start + at..]) else { break };
                if record.seq < self.seq {
                    skipped += record.length;
                } else {
                    record::set_attachment(&mut out[start + at..], attachment);
                    appended += record.length;
                    self.seq = record.seq + 1;
                }
                at += record.length;
            }
            if at == 0 {
                out.truncate(start);
                return Err(damaged(&journal.dir, "no record where one should be"));
            }
            open.offset += at as u64;
            out.truncate(start + at);
            out.drain(start..start + skipped);
        }
        Ok(appended)
    }
}
