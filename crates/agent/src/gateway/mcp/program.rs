//! MCP servers that are programs: whoever starts them in their containers is reached by a socket.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jb_agent_protocol::mcp::MESSAGE_BYTES_MAX;
use rmcp::service::{RoleClient, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::lines::{Lines, Piece};
use crate::server::frame::{Frame, HELLO, no_message, too_long};

/// How long a server's container may take until it starts the server.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Between attempts to reach it; they double, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The way to one.
pub(super) struct Program {
    socket: String,
    command: String,
    over: Over,
}

/// Why a server is no more, as the end of a sentence. It is not started again: what it had in mind would be lost, and nobody
/// would know.
type Over = Arc<Mutex<Option<String>>>;

impl Program {
    pub(super) fn new(socket: String, command: String) -> Self {
        Self { socket, command, over: Over::default() }
    }

    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// Why it is no more, if so.
    pub(super) fn over(&self) -> Option<String> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the server started.
    ///
    /// # Errors
    /// Why it cannot be, as the end of a sentence.
    pub(super) async fn transport(&self) -> Result<Stdio, String> {
        let started = tokio::time::timeout(START_TIMEOUT, self.started()).await;
        let late = || format!("was not started within {} s", START_TIMEOUT.as_secs());
        let (lines, write) = started.unwrap_or_else(|_| Err(late())).inspect_err(|why| {
            end(&self.over, why);
        })?;
        let write = Arc::new(tokio::sync::Mutex::new(Some(write)));
        Ok(Stdio { lines, write, over: Arc::clone(&self.over) })
    }

    async fn started(&self) -> Result<(Lines<OwnedReadHalf>, OwnedWriteHalf), String> {
        let mut pause = PAUSES.0;
        loop {
            if let Ok((mut lines, write)) = self.greeted().await {
                match lines.next().await {
                    Ok(Some(Piece::Line(line))) => match Frame::read(&line) {
                        Some(Frame::Started) => return Ok((lines, write)),
                        Some(Frame::Over(why)) => return Err(why),
                        _ => return Err(no_message(&line)),
                    },
                    Ok(Some(Piece::TooLong(_))) => return Err(too_long(MESSAGE_BYTES_MAX)),
                    // Whoever carries the socket is there, and its other end is not yet.
                    Ok(None) | Err(_) => {}
                }
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    async fn greeted(&self) -> io::Result<(Lines<OwnedReadHalf>, OwnedWriteHalf)> {
        let (read, mut write) = UnixStream::connect(&self.socket).await?.into_split();
        write.write_all(format!("{HELLO}\n").as_bytes()).await?;
        Ok((Lines::new(read, MESSAGE_BYTES_MAX), write))
    }
}

/// Keeps the first reason.
fn end(over: &Over, why: &str) {
    over.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
}

/// A server's stdin and stdout.
pub(super) struct Stdio {
    lines: Lines<OwnedReadHalf>,
    write: Arc<tokio::sync::Mutex<Option<OwnedWriteHalf>>>,
    over: Over,
}

impl Transport<RoleClient> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let write = Arc::clone(&self.write);
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let mut write = write.lock().await;
            let write = write.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            write.write_all(&line).await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let why = match self.lines.next().await {
                Ok(Some(Piece::Line(line))) => match message(&line) {
                    Ok(Some(message)) => return Some(message),
                    Ok(None) => continue,
                    Err(why) => why,
                },
                Ok(Some(Piece::TooLong(_))) => too_long(MESSAGE_BYTES_MAX),
                Ok(None) | Err(_) => "is gone with its container".to_owned(),
            };
            end(&self.over, &why);
            return None;
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.write.lock().await.take();
        Ok(())
    }
}

/// Reads a line; none when it is of no concern. An error is why there will be no more.
fn message(line: &[u8]) -> Result<Option<RxJsonRpcMessage<RoleClient>>, String> {
    let message = match Frame::read(line) {
        Some(Frame::Message(message)) => message,
        Some(Frame::Over(why)) => return Err(why),
        Some(Frame::Started) | None => return Err(no_message(line)),
    };
    serde_json::from_slice(message).map(Some).or_else(|_| {
        let value: Value = serde_json::from_slice(message).map_err(|_| no_message(message))?;
        // Requests and notifications that nobody knew when this was made.
        let is_new = value["jsonrpc"] == "2.0" && value["method"].is_string();
        if is_new { Ok(None) } else { Err(no_message(message)) }
    })
}
