//! Packing and unpacking of streams, piece by piece.

use std::io::{self, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Pieces on their way from the codec to the reader.
const PIECES: usize = 4;
const PIECE: usize = 64 << 10;

type Piece = io::Result<io::Cursor<Vec<u8>>>;

/// The plain content of a gzip stream.
pub(crate) fn unpack(
    packed: impl AsyncRead + Send + Unpin + 'static,
) -> impl AsyncRead + Send + Unpin {
    run(packed, |packed, mut plain| {
        io::copy(&mut MultiGzDecoder::new(packed), &mut plain)?;
        plain.flush()
    })
}

/// A gzip stream of plain content.
pub(crate) fn pack(
    plain: impl AsyncRead + Send + Unpin + 'static,
) -> impl AsyncRead + Send + Unpin {
    run(plain, |plain, packed| {
        let mut encoder = GzEncoder::new(packed, Compression::fast());
        io::copy(&mut io::BufReader::with_capacity(PIECE, plain), &mut encoder)?;
        encoder.finish()?.flush()
    })
}

/// Runs a codec on a thread of its own. It ends when its reader or its source does.
fn run<R>(
    source: R,
    codec: impl FnOnce(SyncIoBridge<R>, Pieces) -> io::Result<()> + Send + 'static,
) -> impl AsyncRead + Send + Unpin
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel::<Piece>(PIECES);
    let source = SyncIoBridge::new(source);
    tokio::task::spawn_blocking(move || {
        let pieces = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) };
        if let Err(error) = codec(source, pieces) {
            // Nobody listens when the reader has gone.
            drop(sender.blocking_send(Err(error)));
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    StreamReader::new(Box::pin(pieces))
}

/// Collects output and hands it on in pieces.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender
            .blocking_send(Ok(io::Cursor::new(piece)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_packed_is_unpacked() {
        let plain: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut back = Vec::new();
        let packed = pack(io::Cursor::new(plain.clone()));
        unpack(packed).read_to_end(&mut back).await.unwrap();
        assert_eq!(back, plain);
    }

    #[tokio::test]
    async fn broken_streams_are_errors() {
        let mut back = Vec::new();
        let error = unpack(io::Cursor::new(b"no gzip".to_vec())).read_to_end(&mut back).await;
        assert!(error.is_err());
        let mut packed = Vec::new();
        pack(io::Cursor::new(vec![1; 10_000])).read_to_end(&mut packed).await.unwrap();
        packed.truncate(packed.len() / 2);
        assert!(unpack(io::Cursor::new(packed)).read_to_end(&mut back).await.is_err());
    }
}
