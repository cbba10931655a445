//! Bytes of which the reader can tell whether it got them all, over streams that may break at any place.
//!
//! Pieces of at most [`PIECE_BYTES_MAX`] bytes, each after its length (`u32`, little-endian); a length of zero ends it.

use std::io::{self, Read, Write};

/// The longest piece.
pub const PIECE_BYTES_MAX: usize = 128 << 10;

/// Ends what [`FrameWriter`] wrote.
pub const END: [u8; 4] = [0; 4];

/// The bytes that come before a piece.
///
/// # Panics
/// Never for pieces up to [`PIECE_BYTES_MAX`].
pub fn length(piece: &[u8]) -> [u8; 4] {
    u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes pieces. Whoever does not call [`FrameWriter::finish`] leaves something that cannot be read to its end.
pub struct FrameWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::with_capacity(PIECE_BYTES_MAX) }
    }

    fn send(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.out.write_all(&length(&self.buffer))?;
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.send()?;
        self.out.write_all(&END)?;
        self.out.flush()
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES_MAX - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE_BYTES_MAX {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.out.flush()
    }
}

/// Reads pieces to their end; a stream that ends before is an error.
pub struct FrameReader<R: Read> {
    from: R,
    left: usize,
    ended: bool,
}

impl<R: Read> FrameReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, left: 0, ended: false }
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            let mut length = [0; 4];
            self.from.read_exact(&mut length)?;
            self.left = check_length(length)?;
            if self.left == 0 {
                self.ended = true;
                return Ok(0);
            }
        }
        let wanted = buffer.len().min(self.left);
        match self.from.read(&mut buffer[..wanted])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.left -= n;
                Ok(n)
            }
        }
    }
}

/// The length of the piece that follows; zero at the end.
pub fn check_length(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length > PIECE_BYTES_MAX {
        let message = format!("a piece of {length} bytes, of which {PIECE_BYTES_MAX} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_whole_streams_are_read() {
        for size in [0, 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 3 * PIECE_BYTES_MAX] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let mut sent = Vec::new();
            let mut writer = FrameWriter::new(&mut sent);
            writer.write_all(&content).unwrap();
            writer.finish().unwrap();
            let mut read = Vec::new();
            FrameReader::new(sent.as_slice()).read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            for cut in [sent.len() - 1, sent.len() - 4, 0] {
                let cut = FrameReader::new(&sent[..cut]).read_to_end(&mut Vec::new());
                assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }
}
