//! Frames out of a stream of bytes.

use crate::message::kind;
use crate::{DecodeError, MAX_PAYLOAD, MAX_START_PAYLOAD};

#[cfg(test)]
mod tests;

/// Length and kind.
pub const HEADER: usize = 5;

/// One whole frame, not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The frame's length on the wire, in bytes.
    pub fn wire_len(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// Collects received bytes and gives out whole frames. Holds at most one incomplete frame plus what
/// was read with it, since a frame's length is judged as soon as its header is there.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Where the first frame not given out starts.
    start: usize,
}

impl FrameBuffer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.make_room();
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer itself, to read more bytes onto its end.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        self.make_room();
        &mut self.bytes
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// The next whole frame, `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, DecodeError> {
        let Some((length, kind)) = header(&self.bytes[self.start..]) else { return Ok(None) };
        let limit = if kind == kind::START { MAX_START_PAYLOAD } else { MAX_PAYLOAD };
        if length > limit {
            return Err(DecodeError::TooLarge { length, limit });
        }
        let begin = self.start + HEADER;
        let Some(payload) = self.bytes.get(begin..begin + length) else { return Ok(None) };
        self.start = begin + length;
        Ok(Some(Frame { kind, payload }))
    }

    /// Bytes held that were not given out as frames.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.start
    }
}

/// The payload's length and the kind, when the whole header is there.
pub(crate) fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, d, kind, ..] = *bytes else { return None };
    Some((u32::from_le_bytes([a, b, c, d]) as usize, kind))
}
