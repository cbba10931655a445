//! `jb-runner connect`: stdin and stdout joined to the runner's socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use jb_runner_protocol::ANNOUNCEMENT;

const PIECE: usize = 256 << 10;
/// How long a runner that was just started may take to listen. Less than whoever waits for the announcement does.
const START: Duration = Duration::from_secs(10);
const START_PAUSE: Duration = Duration::from_millis(5);

/// Copies both ways until the runner closes its side. Whoever wants it announced may come before the runner listens, and
/// waits for it: to come again would take a new process each time.
pub(crate) fn bridge(socket: &Path, announce: bool) -> Result<u8, String> {
    let failed = |what: &str, error: io::Error| {
        format!("{what} the runner at {}: {error}", socket.display())
    };
    let patience = if announce { START } else { Duration::ZERO };
    let mut from = reach(socket, patience).map_err(|error| failed("connect to", error))?;
    let mut to = from.try_clone().map_err(|error| failed("connect to", error))?;
    let (mut input, mut output) = stdio().map_err(|error| failed("connect to", error))?;
    if announce {
        output.write_all(&[ANNOUNCEMENT]).map_err(|error| failed("announce", error))?;
    }
    std::thread::spawn(move || {
        // Whatever ends the input ends the conversation; the other direction reports it.
        let _ = copy(&mut input, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    copy(&mut from, &mut output).map_err(|error| failed("copy from", error))?;
    Ok(0)
}

fn reach(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) && begin.elapsed() < patience =>
            {
                std::thread::sleep(START_PAUSE);
            }
            reached => return reached,
        }
    }
}

/// Unbuffered: `io::stdout` would hold back the ends of frames.
fn stdio() -> io::Result<(File, File)> {
    let input = rustix::io::dup(rustix::stdio::stdin())?;
    let output = rustix::io::dup(rustix::stdio::stdout())?;
    Ok((File::from(input), File::from(output)))
}

/// `io::copy` would splice, and a splice that waits for its source keeps the pipe it writes to
/// locked for whoever reads from there.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
