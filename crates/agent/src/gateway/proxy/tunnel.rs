//! A connection that was opened: its first words are checked, and then it passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jb_model::agent::network::host_name;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Connection;
use super::hello::{self, HELLO_BYTES_MAX, UNRECOGNIZED_NAME};
use super::rules::Refusal;

/// How long a program may take to begin.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Passes a connection on until both ends are done, it says nothing for `idle`, or its beginning is not as it shall be.
pub(super) async fn run(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut server: TcpStream,
    host: &str,
    idle: Duration,
    connection: &mut Connection,
) {
    match greet(&mut client, &mut server, host, idle, connection).await {
        Ok(()) => connection.allowed(),
        Err(Broken::Refused(refusal)) => {
            connection.refused(&refusal);
            let alert = match refusal {
                Refusal::Hello(error) => error.alert(),
                _ => UNRECOGNIZED_NAME,
            };
            // A program that is gone needs no reason.
            let _ = timeout(HELLO_TIMEOUT, say(&mut client, &alert)).await;
            return;
        }
        Err(Broken::Off(reason)) => {
            connection.ended(reason);
            return;
        }
    }
    let (sent, received) = (&connection.sent, &connection.received);
    let (client_reads, client_writes) = tokio::io::split(client);
    let (server_reads, server_writes) = server.into_split();
    let passing = async {
        // One direction may end long before the other.
        let both = futures_util::future::join(
            copy(client_reads, server_writes, sent),
            copy(server_reads, client_writes, received),
        );
        both.await;
    };
    let silence = async {
        loop {
            let before = (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
            tokio::time::sleep(idle).await;
            if before == (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed)) {
                break;
            }
        }
    };
    let silent = tokio::select! {
        () = passing => false,
        () = silence => true,
    };
    if silent {
        connection.ended(format!("nothing was said for {} s", idle.as_secs_f32()));
    }
}

/// How a connection ends before anything passes.
enum Broken {
    Refused(Refusal),
    /// One of the ends is gone.
    Off(String),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Off(format!("it broke off: {error}"))
    }
}

/// Checks what the client says first, and again where the server asks it to begin again. Until then nothing else passes.
async fn greet(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut TcpStream,
    host: &str,
    idle: Duration,
    connection: &Connection,
) -> Result<(), Broken> {
    let mut said = Vec::new();
    greeting(client, server, host, &mut said, false, connection).await?;
    let mut answer = Vec::new();
    let answered = timeout(idle, async {
        while hello::is_cut_off(&answer) {
            if server.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    });
    answered.await.map_err(|_| Broken::Off("the host did not answer in time".to_owned()))??;
    say(client, &answer).await?;
    connection.received.fetch_add(answer.len() as u64, Ordering::Relaxed);
    if hello::is_retry(&answer) {
        greeting(client, server, host, &mut said, true, connection).await?;
    }
    send(server, &said, connection).await
}

/// Reads a client's first message, and sends it on if it names the host. What it `said` beyond is left.
async fn greeting(
    client: &mut (impl AsyncRead + Unpin),
    server: &mut TcpStream,
    host: &str,
    said: &mut Vec<u8>,
    again: bool,
    connection: &Connection,
) -> Result<(), Broken> {
    let whole = timeout(HELLO_TIMEOUT, async {
        loop {
            let found = hello::read(said, again);
            if let Some(hello) = found.map_err(|what| Broken::Refused(Refusal::Hello(what)))? {
                return Ok(hello);
            }
            let room = HELLO_BYTES_MAX.saturating_sub(said.len()) as u64;
            if (&mut *client).take(room).read_buf(said).await? == 0 {
                return Err(Broken::Off("the program hung up before it said anything".to_owned()));
            }
        }
    });
    let hello = whole.await.map_err(|_| Broken::Refused(Refusal::Silent))??;
    match host_name(&hello.name) {
        Ok(name) if name == host => {}
        Ok(_) | Err(_) => {
            let (host, named) = (host.to_owned(), crate::output::cut(&hello.name, 300));
            return Err(Broken::Refused(Refusal::OtherName { host, named }));
        }
    }
    let rest = said.split_off(hello.bytes);
    send(server, said, connection).await?;
    *said = rest;
    Ok(())
}

async fn send(server: &mut TcpStream, bytes: &[u8], connection: &Connection) -> Result<(), Broken> {
    server.write_all(bytes).await?;
    connection.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(())
}

async fn say(client: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await
}

/// Copies until the one end is done, and tells the other. Either may break off; what passed has passed.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 || to.write_all(&piece[..length]).await.is_err() {
            break;
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
