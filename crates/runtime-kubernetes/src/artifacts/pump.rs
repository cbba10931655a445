//! Content on its way to and from commands.

use std::io::{self, Cursor};

use jb_artifacts::frames::{self, PIECE_BYTES_MAX};
use jb_runtime::ByteStream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::ANSWER_BYTES_MAX;
use crate::exec::{Exec, Failure};

/// Pieces that wait for their reader.
const WAITING: usize = 4;

/// Why talking to a command came to nothing.
pub(super) enum Talk {
    /// What it was to be told could not be had.
    Input(io::Error),
    Output(io::Error),
    /// It ended by itself before.
    Ended(Failure),
}

/// Sends inputs, each to its end, one after the other.
async fn send(stdin: &mut (impl AsyncWrite + Unpin), inputs: Vec<ByteStream>) -> Result<(), Talk> {
    let mut piece = vec![0; PIECE_BYTES_MAX];
    for mut input in inputs {
        loop {
            match input.read(&mut piece).await.map_err(Talk::Input)? {
                0 => break,
                n => {
                    let sent = async {
                        stdin.write_all(&frames::length(&piece[..n])).await?;
                        stdin.write_all(&piece[..n]).await
                    };
                    sent.await.map_err(Talk::Output)?;
                }
            }
        }
        stdin.write_all(&frames::END).await.map_err(Talk::Output)?;
    }
    Ok(())
}

/// Lets a command work: sends it its inputs and returns its answer as it comes, once the answer has begun. A
/// command that fails later, or a stream that breaks, ends the answer with an error. Whoever drops the answer ends the
/// command.
pub(super) async fn begin(exec: Exec, inputs: Vec<ByteStream>) -> Result<ByteStream, Talk> {
    let (pieces, mut answer) = mpsc::channel(WAITING);
    tokio::spawn(work(exec, inputs, pieces));
    let first = answer.recv().await.unwrap_or(Ok(Vec::new()))?;
    let state = (Some(first), answer);
    let pieces = futures_util::stream::unfold(state, async |(first, mut answer)| {
        let next = match first {
            Some(first) => Ok(first),
            None => answer.recv().await?,
        };
        let next = next.map(Cursor::new).map_err(|why| match why {
            Talk::Input(error) | Talk::Output(error) => error,
            Talk::Ended(failure) => io::Error::other(failure.to_string()),
        });
        Some((next, (None, answer)))
    });
    Ok(Box::new(tokio_util::io::StreamReader::new(Box::pin(pieces))))
}

/// Sends pieces on until the command ends. The last of a bad end is an error.
async fn work(
    mut exec: Exec,
    inputs: Vec<ByteStream>,
    pieces: mpsc::Sender<Result<Vec<u8>, Talk>>,
) {
    let why = match exchange(&mut exec, inputs, &pieces).await {
        // Nobody listens any more.
        Ok(false) => return,
        Ok(true) => exec.end().await.err().map(Talk::Ended),
        Err(Talk::Output(error)) => {
            Some(exec.end().await.err().map_or(Talk::Output(error), Talk::Ended))
        }
        Err(why) => Some(why),
    };
    if let Some(why) = why {
        // Nobody may listen any more.
        let _ = pieces.send(Err(why)).await;
    }
}

/// Whether there still was somebody to send the last piece to.
async fn exchange(
    exec: &mut Exec,
    inputs: Vec<ByteStream>,
    pieces: &mpsc::Sender<Result<Vec<u8>, Talk>>,
) -> Result<bool, Talk> {
    let Exec { stdin, stdout, .. } = exec;
    let mut sending = std::pin::pin!(send(stdin, inputs));
    let mut is_sent = false;
    let mut receiving = std::pin::pin!(async {
        while let Some(piece) = next_piece(stdout).await.map_err(Talk::Output)? {
            if pieces.send(Ok(piece)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    });
    loop {
        tokio::select! {
            result = &mut sending, if !is_sent => match result {
                Err(Talk::Input(error)) => return Err(Talk::Input(error)),
                // One that ends before it has read everything says why.
                _ => is_sent = true,
            },
            received = &mut receiving => return received,
        }
    }
}

/// The next piece of an answer; `None` at its end.
async fn next_piece(stdout: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    stdout.read_exact(&mut length).await?;
    let length = frames::check_length(length)?;
    if length == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; length];
    stdout.read_exact(&mut piece).await?;
    Ok(Some(piece))
}

/// Sends the input and takes in the answer, at the same time.
pub(super) async fn talk(
    exec: &mut Exec,
    input: Option<ByteStream>,
    answer: &mut Vec<u8>,
) -> Result<(), Talk> {
    let Exec { stdin, stdout, .. } = exec;
    let mut sending = std::pin::pin!(send(stdin, input.into_iter().collect()));
    let mut sent = false;
    let mut receiving = std::pin::pin!(async {
        let mut all = Vec::new();
        // One that never answers is cut off here, too.
        stdout.take(ANSWER_BYTES_MAX as u64 * 2).read_to_end(&mut all).await.map(|_| all)
    });
    let all = loop {
        tokio::select! {
            result = &mut sending, if !sent => {
                result?;
                sent = true;
            }
            // A command may end before it has read everything, and says why.
            all = &mut receiving => break all.map_err(Talk::Output)?,
        }
    };
    if all.is_empty() {
        return Ok(());
    }
    let mut reader = frames::FrameReader::new(all.as_slice());
    io::Read::read_to_end(&mut reader, answer).map(drop).map_err(Talk::Output)
}
