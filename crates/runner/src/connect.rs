//! `jb-runner connect`: stdin and stdout joined to the runner's socket.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Copies both ways until the runner closes its side.
pub(crate) fn bridge(socket: &Path) -> Result<u8, String> {
    let failed = |what: &str, error: io::Error| {
        format!("{what} the runner at {}: {error}", socket.display())
    };
    let mut from = UnixStream::connect(socket).map_err(|error| failed("connect to", error))?;
    let mut to = from.try_clone().map_err(|error| failed("connect to", error))?;
    std::thread::spawn(move || {
        // Whatever ends the input ends the conversation; the other direction reports it.
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    copy_out(&mut from).map_err(|error| failed("copy from", error))?;
    Ok(0)
}

/// Without the line buffer of `io::stdout`, which would hold back the ends of frames.
fn copy_out(from: &mut UnixStream) -> io::Result<()> {
    use std::io::{Read, Write};
    let mut out = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout())?);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => out.write_all(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
