//! The tar stream of a layer, however it is compressed.

use std::io::{self, BufRead as _, BufReader, Read};

/// Looks at the first bytes: media types are not to be relied upon, some builders name them wrongly.
pub(super) fn reader<'r>(reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut buffered = BufReader::with_capacity(128 << 10, reader);
    let start = buffered.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        // Several gzip members may follow each other.
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(buffered)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || start.len() >= 4 && is_skippable(start) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?));
    }
    Ok(Box::new(buffered))
}

/// A zstd frame without data, with which seekable forms begin.
fn is_skippable(start: &[u8]) -> bool {
    (0x50..=0x5f).contains(&start[0]) && start[1..4] == [0x2a, 0x4d, 0x18]
}
