//! An MCP server that is a program: started in a container of its own, its stdin and stdout joined to the gateway.
//!
//! It is started when the gateway asks for it, once, and ended with everything it started when the gateway is gone. What it
//! writes to stderr is lines of the transcript.

pub(crate) mod frame;

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jb_agent_protocol::Entry;
use jb_agent_protocol::mcp::{MESSAGE_BYTES_MAX, ProgramSpec};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::lines::{Lines, Piece};
use crate::output::{Output, cut};
use crate::process::{Group, adopt_orphans, end_children, how_ended};
use frame::{Frame, HELLO, no_message, too_long};

/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A server whose stdin ended may end by itself for so long.
const GRACE: Duration = Duration::from_secs(2);
/// How a server ended whose stdout did is waited for this long.
const AFTER_END: Duration = Duration::from_secs(5);
/// The longest line of stderr that is kept as one.
const STDERR_LINE_BYTES: usize = 4 << 10;
/// Of all that a server writes to stderr, this much is shown.
const STDERR_BYTES_MAX: usize = 256 << 10;
/// Of its last line, this much says why it ended.
const LAST_WORDS_BYTES: usize = 500;

/// Serves one gateway, until it is gone, the server ends, or SIGTERM comes.
///
/// # Errors
/// When it cannot listen; the text says where and why.
pub async fn run(spec: ProgramSpec, output: Output) -> Result<(), String> {
    adopt_orphans()?;
    let listener = crate::link::unix(&spec.socket)
        .map_err(|error| format!("listen at {}: {error}", spec.socket))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let gateway = tokio::select! {
        gateway = gateway(&listener) => gateway,
        _ = terminate.recv() => return Ok(()),
    };
    let (commands, mut to_gateway) = gateway;
    let over = join(commands, &mut to_gateway, &mut terminate, &spec, &output).await;
    end_children();
    if let Some(why) = over {
        // It may be gone as well.
        let _ = to_gateway.write_all(&Frame::Over(why.clone()).line()).await;
        output.say(Entry::ServerEnded { server: spec.name, message: why });
    }
    Ok(())
}

/// Waits for the gateway. Whoever connects and says nothing is not it.
async fn gateway(listener: &UnixListener) -> (BufReader<OwnedReadHalf>, OwnedWriteHalf) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (read, write) = stream.into_split();
        let mut lines = Lines::new(read, HELLO.len());
        if let Ok(Some(Piece::Line(line))) = lines.next().await
            && line == HELLO.as_bytes()
        {
            return (lines.into_inner(), write);
        }
    }
}

/// Starts the server and joins it to the gateway. Says why the server is over; none when the gateway is, or SIGTERM came.
async fn join(
    mut from_gateway: BufReader<OwnedReadHalf>,
    to_gateway: &mut OwnedWriteHalf,
    terminate: &mut Signal,
    spec: &ProgramSpec,
    output: &Output,
) -> Option<String> {
    let mut child = match start(spec) {
        Ok(child) => child,
        Err(why) => return Some(why),
    };
    let _group = Group::of(&child);
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    let last_words = Arc::new(Mutex::new(String::new()));
    let told = tokio::spawn(tell(
        child.stderr.take()?,
        spec.name.clone(),
        output.clone(),
        Arc::clone(&last_words),
    ));
    to_gateway.write_all(&Frame::Started.line()).await.ok()?;
    let passed = tokio::select! {
        passed = pass_on(stdout, to_gateway) => passed,
        () = feed(&mut from_gateway, &mut stdin) => Err(Gone),
        _ = terminate.recv() => Err(Gone),
    };
    match passed {
        Ok(None) => {}
        Ok(wrong) => return wrong,
        Err(Gone) => {
            drop(stdin);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            return None;
        }
    }
    let ended = tokio::time::timeout(AFTER_END, async {
        let status = child.wait().await;
        let _ = told.await;
        status
    });
    let how = match ended.await {
        Ok(Ok(status)) => how_ended(status),
        Ok(Err(_)) | Err(_) => "closed its stdout".to_owned(),
    };
    let last = last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Some(if last.is_empty() { how } else { format!("{how}: {last}") })
}

fn start(spec: &ProgramSpec) -> Result<Child, String> {
    let (program, arguments) = spec.command.split_first().ok_or("has no command")?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: `{program}`: {error}"))
}

/// The gateway is.
struct Gone;

/// Passes what the gateway says to the server, until the gateway is gone.
async fn feed(from_gateway: &mut (impl AsyncBufRead + Unpin), stdin: &mut ChildStdin) {
    loop {
        let bytes = from_gateway.fill_buf().await.unwrap_or_default();
        let length = bytes.len();
        if length == 0 {
            return;
        }
        if stdin.write_all(bytes).await.is_err() {
            // It takes no more. What it still says, and how it ends, is heard elsewhere.
            return std::future::pending().await;
        }
        from_gateway.consume(length);
    }
}

/// Passes messages to the gateway until there are no more; says what came that is none.
async fn pass_on(
    stdout: ChildStdout,
    to_gateway: &mut (impl AsyncWrite + Unpin),
) -> Result<Option<String>, Gone> {
    let mut lines = Lines::new(stdout, MESSAGE_BYTES_MAX);
    // A pipe that breaks is one that ended.
    while let Ok(Some(piece)) = lines.next().await {
        let Piece::Line(line) = piece else { return Ok(Some(too_long(MESSAGE_BYTES_MAX))) };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Some(message @ Frame::Message(_)) = Frame::read(&line) else {
            return Ok(Some(no_message(&line)));
        };
        to_gateway.write_all(&message.line()).await.map_err(|_| Gone)?;
    }
    Ok(None)
}

/// Makes entries of what the server writes to stderr, and keeps its last line.
async fn tell(stderr: ChildStderr, server: String, output: Output, last: Arc<Mutex<String>>) {
    let mut lines = Lines::new(stderr, STDERR_LINE_BYTES);
    let mut room = Some(STDERR_BYTES_MAX);
    // What comes when there is no room is read as well, or the server would wait for that.
    while let Ok(Some(Piece::Line(line) | Piece::TooLong(line))) = lines.next().await {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if text.is_empty() {
            continue;
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = cut(&text, LAST_WORDS_BYTES);
        let Some(left) = room else { continue };
        room = left.checked_sub(text.len());
        let text = if room.is_some() { text } else { "… (what follows is not shown)".to_owned() };
        output.say(Entry::ServerText { server: server.clone(), text });
    }
}
