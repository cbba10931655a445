//! What a process said, on disk.
//!
//! A journal is a directory of segments named by the number of their first record, each a plain
//! sequence of records (`jb_runner_protocol::record`). Records are only appended; whole segments are
//! deleted once acknowledged. A reader takes records from the files, so memory does not grow with
//! what is unread; how much disk may be taken by what is not acknowledged is bounded by whoever
//! reads the process's output, who stops.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jb_runner_protocol::record::{self, Exit, MAX_RECORD, RecordKind};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

mod cursor;
mod name;
#[cfg(test)]
mod tests;

pub(crate) use cursor::Cursor;
pub(crate) use name::{directory_name, process_id};

/// A segment that reached this many bytes is followed by another.
const SEGMENT: u64 = 8 << 20;
/// A bound on a journal's size must leave room for segments that cannot be deleted yet, and half of
/// it is what slow readers are given.
pub(crate) const LIMIT_MIN: u64 = 4 * SEGMENT;
/// The exit gets a segment of its own after one of this size, so that the rest can be deleted.
const SMALL: u64 = 64 << 10;
/// Bytes of disk kept ahead of what is written: a process that filled the disk can still say so, and end.
const RESERVE: u64 = 128 << 10;

pub(crate) struct Journal {
    dir: PathBuf,
    /// In order, never empty; the last one is written to.
    segments: VecDeque<Segment>,
    next_seq: u64,
    exit: Option<Exit>,
}

struct Segment {
    first_seq: u64,
    /// Bytes of whole records. The file may be longer after a write that failed.
    length: u64,
    /// Up to here the file has its room on the disk, whatever others write.
    reserved: u64,
    file: Option<Rc<File>>,
}

impl Journal {
    /// Makes an empty journal.
    pub(crate) fn create(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir(&dir)?;
        let mut journal = Self { dir, segments: VecDeque::new(), next_seq: 0, exit: None };
        journal.begin_segment()?;
        Ok(journal)
    }

    /// Reads what a former runner left. A last record that was cut off is dropped.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        let mut starts = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            if let Some(start) = name.to_str().and_then(|name| name.strip_suffix(".log")) {
                starts.push(start.parse::<u64>().map_err(|_| damaged(&dir, "a strange file"))?);
            }
        }
        starts.sort_unstable();
        let mut journal = Self {
            next_seq: starts.first().copied().unwrap_or(0),
            dir,
            segments: VecDeque::new(),
            exit: None,
        };
        for (index, start) in starts.iter().enumerate() {
            if *start != journal.next_seq || journal.exit.is_some() {
                return Err(damaged(&journal.dir, "a gap between segments"));
            }
            journal.read_segment(*start, index + 1 == starts.len())?;
        }
        if journal.segments.is_empty() {
            journal.begin_segment()?;
        }
        Ok(journal)
    }

    fn read_segment(&mut self, first_seq: u64, last: bool) -> io::Result<()> {
        let path = segment_path(&self.dir, first_seq);
        let bytes = fs::read(&path)?;
        let mut at = 0;
        while let Ok(Some(record)) = record::parse(&bytes[at..]) {
            if record.seq != self.next_seq || self.exit.is_some() {
                break;
            }
            if record.kind == RecordKind::Exit {
                self.exit = record::parse_exit(&bytes[at..]);
            }
            at += record.length;
            self.next_seq += 1;
        }
        if at < bytes.len() && !last {
            return Err(damaged(&self.dir, "a segment that is not whole"));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        file.set_len(at as u64)?;
        let file = Some(Rc::new(file)).filter(|_| last);
        let length = at as u64;
        self.segments.push_back(Segment { first_seq, length, reserved: length, file });
        Ok(())
    }

    /// The number the next record shall have.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The first record that is still there.
    pub(crate) fn first_seq(&self) -> u64 {
        self.segments.front().map_or(self.next_seq, |segment| segment.first_seq)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Bytes on disk.
    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Appends one record, whose number must be the next. After an error nothing has changed.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        debug_assert!(record::parse(record).is_ok_and(|record| {
            record.is_some_and(|record| record.seq == self.next_seq && self.exit.is_none())
        }));
        if self.segments.back().is_none_or(|segment| segment.length >= SEGMENT) {
            self.begin_segment_if_possible();
        }
        let Some(segment) = self.segments.back_mut() else {
            return Err(damaged(&self.dir, "no segment"));
        };
        let Some(file) = &segment.file else { return Err(damaged(&self.dir, "no file")) };
        if segment.length + RESERVE / 2 > segment.reserved && reserve(file, segment.length).is_ok()
        {
            segment.reserved = segment.length + RESERVE;
        }
        file.write_all_at(record, segment.length)?;
        segment.length += record.len() as u64;
        self.next_seq += 1;
        Ok(())
    }

    /// Appends the last record.
    pub(crate) fn append_exit(&mut self, time_us: i64, exit: Exit) -> io::Result<()> {
        if self.segments.back().is_some_and(|segment| segment.length > SMALL) {
            self.begin_segment_if_possible();
        }
        let mut record = Vec::with_capacity(record::EXIT_LENGTH);
        record::push_exit(&mut record, self.next_seq, time_us, exit);
        self.append(&record)?;
        self.exit = Some(exit);
        // Nothing is written any more; readers open what they need.
        self.close_last();
        Ok(())
    }

    /// Deletes the segments whose records are all before `seq`, but never the last.
    pub(crate) fn delete_before(&mut self, seq: u64) -> io::Result<()> {
        while self.segments.get(1).is_some_and(|next| next.first_seq <= seq) {
            let first_seq = self.first_seq();
            remove_file(&segment_path(&self.dir, first_seq))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Deletes everything.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let path = segment_path(&self.dir, self.next_seq);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = reserve(&file, 0) {
            remove_file(&path)?;
            return Err(error);
        }
        let file = Some(Rc::new(file));
        self.close_last();
        let first_seq = self.next_seq;
        self.segments.push_back(Segment { first_seq, length: 0, reserved: RESERVE, file });
        Ok(())
    }

    /// On a full disk the last segment goes on with what is reserved for it.
    fn begin_segment_if_possible(&mut self) {
        let _ = self.begin_segment();
    }

    fn close_last(&mut self) {
        if let Some(last) = self.segments.back_mut() {
            last.file = None;
        }
    }

    /// The segment with the record `seq`; the last one for the record that comes next.
    fn segment_of(&self, seq: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.first_seq <= seq);
        self.segments.get(after.saturating_sub(1))
    }

    fn open_segment(&self, segment: &Segment) -> io::Result<Rc<File>> {
        match &segment.file {
            Some(file) => Ok(Rc::clone(file)),
            None => Ok(Rc::new(File::open(segment_path(&self.dir, segment.first_seq))?)),
        }
    }
}

fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.log"))
}

/// Takes disk space for what comes after `length`. Where the file system cannot, writes find it or fail.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, length, RESERVE) {
        Err(Errno::NOSPC | Errno::DQUOT) => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn damaged(dir: &Path, what: &str) -> io::Error {
    let message = format!("the journal {} is damaged: {what}", dir.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// How much one read takes at least, to hold any record.
const READ: usize = MAX_RECORD;
