//! Shapes raw output of a step into log events: whole lines, whole characters, secrets masked.
//!
//! Text is held back to its last line end so that a line is never split over two events and a
//! secret never over two chunks; the owner flushes what is held when the process is quiet or ends.
//! A [`Position`] says how much of the runner's journal the returned text covers: stored in the same
//! transaction as the text, it makes the log exactly-once across restarts.

mod encodings;

/// Text is returned at the latest when this much is held without a line end.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// How far into a journal the log is stored: all records before `record`, and `offset` bytes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub record: u64,
    pub offset: u32,
}

/// Records are at most 64 KiB, so offsets fit in the low 20 bits.
const OFFSET_BITS: u32 = 20;

impl Position {
    pub(crate) fn pack(self) -> u64 {
        (self.record << OFFSET_BITS) | u64::from(self.offset)
    }

    pub(crate) fn unpack(packed: u64) -> Self {
        let offset = u32::try_from(packed & ((1 << OFFSET_BITS) - 1)).unwrap_or(0);
        Self { record: packed >> OFFSET_BITS, offset }
    }
}

/// Holds back the unfinished end of a step's output.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    held: Vec<u8>,
    /// Where the held bytes began and end in the journal: (record, bytes of it held), oldest first.
    spans: std::collections::VecDeque<Span>,
    stored: Position,
    held_max: usize,
}

#[derive(Debug)]
struct Span {
    record: u64,
    /// Offset in the record at which the held part begins.
    offset: u32,
    length: usize,
}

/// Text ready to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub text: String,
    pub upto: Position,
}

impl LineBuffer {
    /// Continues after what is stored already.
    pub(crate) fn new(stored: Position) -> Self {
        Self::of_lines(stored, HELD_BYTES_MAX)
    }

    /// The same, for lines that may be as long as this.
    pub(crate) fn of_lines(stored: Position, held_max: usize) -> Self {
        Self { held: Vec::new(), spans: std::collections::VecDeque::new(), stored, held_max }
    }

    /// Adds one record's bytes; what was stored before is skipped.
    pub(crate) fn push(&mut self, record: u64, bytes: &[u8]) {
        if record < self.stored.record {
            return;
        }
        let skip = if record == self.stored.record { self.stored.offset } else { 0 };
        let fresh = bytes.get(skip as usize..).unwrap_or_default();
        self.held.extend_from_slice(fresh);
        self.spans.push_back(Span { record, offset: skip, length: fresh.len() });
    }

    /// How far what was taken reaches.
    pub(crate) fn stored(&self) -> Position {
        self.stored
    }

    /// Whether anything waits for a line end.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The whole lines held so far, or everything when too much is held.
    pub(crate) fn take_lines(&mut self) -> Option<Chunk> {
        let end = self.held.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
        match end {
            Some(end) => self.take(end + 1),
            None if self.held.len() >= self.held_max => self.take_all(),
            None => None,
        }
    }

    /// Everything held up to the last whole character, for when the process is quiet.
    pub(crate) fn take_all(&mut self) -> Option<Chunk> {
        self.take(whole_characters(&self.held))
    }

    /// Everything, for when the process ended.
    pub(crate) fn take_rest(&mut self) -> Option<Chunk> {
        self.take(self.held.len())
    }

    fn take(&mut self, length: usize) -> Option<Chunk> {
        if length == 0 {
            return None;
        }
        let rest = self.held.split_off(length);
        let bytes = std::mem::replace(&mut self.held, rest);
        let mut left = length;
        while let Some(span) = self.spans.front_mut() {
            if span.length > left {
                span.length -= left;
                span.offset += u32::try_from(left).unwrap_or(0);
                self.stored = Position { record: span.record, offset: span.offset };
                left = 0;
                break;
            }
            left -= span.length;
            self.stored = Position { record: span.record + 1, offset: 0 };
            self.spans.pop_front();
        }
        debug_assert_eq!(left, 0, "every held byte belongs to a span");
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Some(Chunk { text, upto: self.stored })
    }
}

/// Length of the longest prefix that does not end inside a UTF-8 sequence.
fn whole_characters(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    for (index, byte) in bytes.iter().enumerate().skip(start) {
        let needed = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => continue,
        };
        if index + needed > bytes.len() {
            return index;
        }
    }
    bytes.len()
}

/// Masks secrets in text, line by line, as Concourse does: every value of more than one character.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor {
    /// Longest first, so that a secret containing another is masked whole.
    lines: Vec<String>,
    /// The same in other forms.
    encoded: Vec<String>,
}

const MASK: &str = "((redacted))";

impl Redactor {
    pub(crate) fn add(&mut self, secret: &str) {
        for line in secret.lines() {
            let line = line.trim();
            if line.chars().count() > 1 && !self.lines.iter().any(|known| known == line) {
                self.lines.push(line.to_owned());
                self.encoded.extend(encodings::forms(line));
            }
        }
        self.encoded.sort_by_key(|form| std::cmp::Reverse(form.len()));
        self.lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
    }

    /// What is masked of agents' words.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines.iter().chain(&self.encoded).cloned().collect()
    }

    pub(crate) fn mask(&self, text: String) -> String {
        masked(&self.lines, text)
    }

    /// Masks other forms of secrets, too. Agents may be talked into writing them so.
    pub(crate) fn mask_all(&self, text: String) -> String {
        masked(&self.encoded, self.mask(text))
    }
}

fn masked(secrets: &[String], text: String) -> String {
    secrets.iter().fold(text, |text, secret| {
        if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
    })
}

#[cfg(test)]
mod tests;
