//! The stored form of a run of events: each event after its length, compressed when that pays.

use crate::{Error, Result};

/// Bodies below this stay as they are.
const COMPRESS_FROM: usize = 1_024;
/// No body may claim to be larger than this when decompressed.
const MAX_BYTES: usize = 256 << 20;
const LENGTH_BYTES: usize = 4;

/// Events as one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) n_events: i64,
    /// Before compression.
    pub(crate) n_bytes: i64,
    /// 0 as is, 1 zstd.
    pub(crate) codec: i64,
    pub(crate) body: Vec<u8>,
}

/// Packs events; `level` is zstd's.
pub(crate) fn pack(events: &[String], level: i32) -> Result<Segment> {
    let size: usize = events.iter().map(|event| LENGTH_BYTES + event.len()).sum();
    if size > MAX_BYTES {
        return Err(Error::refused(format!("{size} bytes of events are too much for one append")));
    }
    let mut raw = Vec::with_capacity(size);
    for event in events {
        // Lengths fit: the whole is below 256 MiB.
        let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
        raw.extend_from_slice(&length.to_le_bytes());
        raw.extend_from_slice(event.as_bytes());
    }
    let n_events = count(events.len());
    let n_bytes = count(raw.len());
    if raw.len() < COMPRESS_FROM {
        return Ok(Segment { n_events, n_bytes, codec: 0, body: raw });
    }
    let body = zstd::bulk::compress(&raw, level)
        .map_err(|error| broken(format!("it does not compress: {error}")))?;
    Ok(Segment { n_events, n_bytes, codec: 1, body })
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn broken(reason: impl Into<String>) -> Error {
    Error::Stored { what: "segment of a build log", reason: reason.into() }
}

/// Unpacks what [`pack`] made.
pub(crate) fn unpack(codec: i64, n_bytes: i64, body: &[u8]) -> Result<Vec<String>> {
    let raw = match codec {
        0 => std::borrow::Cow::Borrowed(body),
        1 => {
            let size = usize::try_from(n_bytes).unwrap_or(usize::MAX).min(MAX_BYTES);
            let raw = zstd::bulk::decompress(body, size);
            raw.map_err(|error| broken(format!("it does not decompress: {error}")))?.into()
        }
        other => return Err(broken(format!("codec {other} is unknown"))),
    };
    let mut events = Vec::new();
    let mut rest: &[u8] = &raw;
    while let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (event, after) =
            after.split_at_checked(length).ok_or_else(|| broken("an event is cut"))?;
        let event = std::str::from_utf8(event).map_err(|_| broken("an event is no UTF-8"))?;
        events.push(event.to_owned());
        rest = after;
    }
    if rest.is_empty() { Ok(events) } else { Err(broken("a length is cut")) }
}

#[cfg(test)]
mod tests;
