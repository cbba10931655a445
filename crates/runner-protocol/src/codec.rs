//! Fields of a frame: little-endian integers, length-prefixed bytes and UTF-8.

use crate::MAX_ID;
use crate::frame::HEADER;

#[cfg(test)]
mod tests;

/// What is wrong with bytes from the other side. The connection cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a frame of {length} bytes is larger than the {limit} allowed")]
    TooLarge { length: usize, limit: usize },
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("a frame ends before its {0} does")]
    Truncated(&'static str),
    #[error("a frame with a malformed {0}")]
    Malformed(&'static str),
    #[error("a frame goes on after its end")]
    TrailingBytes,
    #[error("the other side does not speak the runner's protocol")]
    NotARunner,
}

/// Appends one frame's fields and then its length.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn frame(out: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self { out, start }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A number of elements. One beyond the range makes a frame too large to be sent anyway.
    pub(crate) fn len(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn finish(self) {
        let length = self.out.len() - self.start - HEADER;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Takes one frame's fields; never reads or allocates beyond the payload.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(what))?;
        self.rest = rest;
        Ok(*value)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>("byte").map(|[value]| value)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed("flag")),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array("number").map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array("number").map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array("number").map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array("number").map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array("number").map(i64::from_le_bytes)
    }

    /// A number of elements that take `element` bytes or more each.
    pub(crate) fn len(&mut self, element: usize) -> Result<usize, DecodeError> {
        let length = self.u32()? as usize;
        if length.saturating_mul(element) > self.rest.len() {
            return Err(DecodeError::Truncated("list"));
        }
        Ok(length)
    }

    fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.len(1)?;
        let (value, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeError::Truncated("bytes"))?;
        self.rest = rest;
        Ok(value)
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        self.slice().map(<[u8]>::to_vec)
    }

    pub(crate) fn string(&mut self) -> Result<String, DecodeError> {
        let text = self.slice()?;
        let text = std::str::from_utf8(text).map_err(|_| DecodeError::Malformed("text"))?;
        Ok(text.to_owned())
    }

    pub(crate) fn id(&mut self) -> Result<String, DecodeError> {
        let id = self.string()?;
        if id.is_empty() || id.len() > MAX_ID || id.contains('\0') {
            return Err(DecodeError::Malformed("process id"));
        }
        Ok(id)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }
}
