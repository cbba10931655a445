//! Records of a journal.
//!
//! A journal holds the very frames that an attachment is sent, with the attachment's number left 0:
//! the runner copies whole records from file to socket and fills in that number.

use crate::codec::Writer;
use crate::frame::{self, HEADER};
use crate::message::kind;
use crate::spec::Stream;
use crate::{DecodeError, MAX_CHUNK};

/// Bytes before the output in an output record.
pub const OUTPUT_HEADER: usize = HEADER + 4 + 8 + 8;
/// The length of an exit record.
pub const EXIT_LENGTH: usize = OUTPUT_HEADER + 4 + 4 + 1;
/// The longest record.
pub const MAX_RECORD: usize = OUTPUT_HEADER + MAX_CHUNK;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 128 + signal when a signal ended it.
    pub status: i32,
    /// 0 unless a signal ended it.
    pub signal: i32,
    pub oom: bool,
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its length in the journal and on the wire, in bytes.
    pub length: usize,
    pub seq: u64,
    pub kind: RecordKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Output(Stream),
    Exit,
}

/// Writes an output record's header to the beginning of `buffer`, whose next `length` bytes are the
/// output. `length` is at most [`MAX_CHUNK`].
pub fn write_output_header(
    buffer: &mut [u8; OUTPUT_HEADER],
    seq: u64,
    time_us: i64,
    stream: Stream,
    length: usize,
) {
    let payload = u32::try_from(OUTPUT_HEADER - HEADER + length).unwrap_or(u32::MAX);
    buffer[..4].copy_from_slice(&payload.to_le_bytes());
    buffer[4] = match stream {
        Stream::Stdout => kind::STDOUT,
        Stream::Stderr => kind::STDERR,
    };
    buffer[5..9].copy_from_slice(&[0; 4]);
    buffer[9..17].copy_from_slice(&seq.to_le_bytes());
    buffer[17..25].copy_from_slice(&time_us.to_le_bytes());
}

/// Appends a whole output record.
pub fn push_output(out: &mut Vec<u8>, seq: u64, time_us: i64, stream: Stream, bytes: &[u8]) {
    let mut header = [0; OUTPUT_HEADER];
    write_output_header(&mut header, seq, time_us, stream, bytes.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(bytes);
}

/// Appends an exit record.
pub fn push_exit(out: &mut Vec<u8>, seq: u64, time_us: i64, exit: Exit) {
    let mut w = Writer::frame(out, kind::EXITED);
    w.u32(0);
    w.u64(seq);
    w.u64(time_us.cast_unsigned());
    w.i32(exit.status);
    w.i32(exit.signal);
    w.bool(exit.oom);
    w.finish();
}

/// Fills in the attachment's number of the record at the beginning of `record`.
pub fn set_attachment(record: &mut [u8], attachment: u32) {
    if let Some(field) = record.get_mut(HEADER..HEADER + 4) {
        field.copy_from_slice(&attachment.to_le_bytes());
    }
}

/// The record at the beginning of `bytes`; `None` when it is not whole.
pub fn parse(bytes: &[u8]) -> Result<Option<Record>, DecodeError> {
    let Some((payload, kind)) = frame::header(bytes) else { return Ok(None) };
    let length = HEADER + payload;
    let (kind, lengths) = match kind {
        kind::STDOUT => (RecordKind::Output(Stream::Stdout), OUTPUT_HEADER + 1..=MAX_RECORD),
        kind::STDERR => (RecordKind::Output(Stream::Stderr), OUTPUT_HEADER + 1..=MAX_RECORD),
        kind::EXITED => (RecordKind::Exit, EXIT_LENGTH..=EXIT_LENGTH),
        unknown => return Err(DecodeError::UnknownKind(unknown)),
    };
    if !lengths.contains(&length) {
        return Err(DecodeError::Malformed("record length"));
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let mut seq = [0; 8];
    seq.copy_from_slice(&bytes[9..17]);
    Ok(Some(Record { length, seq: u64::from_le_bytes(seq), kind }))
}

/// How the process of an exit record ended.
pub fn parse_exit(record: &[u8]) -> Option<Exit> {
    let fields = record.get(OUTPUT_HEADER..EXIT_LENGTH)?;
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&fields[at..at + 4]);
        i32::from_le_bytes(bytes)
    };
    Some(Exit { status: number(0), signal: number(4), oom: fields[8] != 0 })
}
