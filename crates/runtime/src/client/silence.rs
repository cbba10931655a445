//! Streams that break without a word: something between the two sides forgets them, and neither is told.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// Bytes that must pass within the bound.
const PIECE: usize = 64 << 10;

/// Reads what comes next. When nothing has come for half of `max`, the other side is asked by `ask` for any answer; a
/// stream on which nothing came for all of it is broken. Without `max` it may be silent for ever.
///
/// Whoever says anything at all is there: only a side that could answer and does not is given up.
pub async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    max: Option<Duration>,
    ask: impl FnOnce(),
) -> io::Result<usize> {
    let Some(max) = max else { return reader.read_buf(buffer).await };
    if let Ok(read) = timeout(max / 2, reader.read_buf(buffer)).await {
        return read;
    }
    ask();
    timeout(max / 2, reader.read_buf(buffer)).await.unwrap_or_else(|_| {
        let seconds = max.as_secs_f32();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("not a word in {seconds} seconds")))
    })
}

/// Writes all, unless the other side takes nothing for `max`.
pub async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    max: Option<Duration>,
) -> io::Result<()> {
    for piece in bytes.chunks(PIECE) {
        let written = async {
            writer.write_all(piece).await?;
            writer.flush().await
        };
        match max {
            None => written.await?,
            Some(max) => timeout(max, written).await.map_err(|_| io::ErrorKind::TimedOut)??,
        }
    }
    Ok(())
}
