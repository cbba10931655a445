//! Lines of others, read with a bound on each.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// Reads lines, each of which has at most so many bytes.
pub(crate) struct Lines<R> {
    read: BufReader<R>,
    /// A line whose end is still to come.
    partial: Vec<u8>,
    bytes_max: usize,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Without its end.
    Line(Vec<u8>),
    /// The beginning of a line that is longer than may be. What follows is read as a line of its own.
    TooLong(Vec<u8>),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(read: R, bytes_max: usize) -> Self {
        Self { read: BufReader::new(read), partial: Vec::new(), bytes_max }
    }

    /// The next line; none at the end. Nothing is lost when this is dropped half-way.
    ///
    /// # Errors
    /// When the stream breaks.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let bytes = self.read.fill_buf().await?;
            if bytes.is_empty() {
                let rest = std::mem::take(&mut self.partial);
                return Ok((!rest.is_empty()).then_some(Piece::Line(rest)));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(bytes.len());
            let room = self.bytes_max.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&bytes[..length.min(room)]);
            if length > room {
                self.read.consume(room);
                return Ok(Some(Piece::TooLong(std::mem::take(&mut self.partial))));
            }
            self.read.consume(end.map_or(length, |end| end + 1));
            if end.is_some() {
                if self.partial.last() == Some(&b'\r') {
                    self.partial.pop();
                }
                return Ok(Some(Piece::Line(std::mem::take(&mut self.partial))));
            }
        }
    }

    /// The stream, with what was read of it ahead.
    pub(crate) fn into_inner(self) -> BufReader<R> {
        self.read
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_or_too_long() {
        let line = |text: &str| Piece::Line(text.as_bytes().to_vec());
        let too_long = |text: &str| Piece::TooLong(text.as_bytes().to_vec());
        let mut lines = Lines::new(&b"abcd\nabcde\r\n\nabcdef\nx"[..], 5);
        let mut read = Vec::new();
        while let Some(piece) = lines.next().await.unwrap() {
            read.push(piece);
        }
        let expected = [
            line("abcd"),
            too_long("abcde"),
            line(""),
            line(""),
            too_long("abcde"),
            line("f"),
            line("x"),
        ];
        assert_eq!(read, expected);
    }
}
