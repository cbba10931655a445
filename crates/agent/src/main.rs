//! The command line: `jb-agent gateway` and `jb-agent loop`, each with its task on stdin, and `jb-agent link`.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use jb_agent::Output;
use jb_agent::link::{End, Listener};
use tokio::signal::unix::{SignalKind, signal};

/// The longest task that is read.
const TASK_BYTES_MAX: u64 = 64 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // There is nobody to tell when that fails.
            let _ = writeln!(std::io::stderr(), "jb-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let verb = std::env::args().nth(1).unwrap_or_default();
    if verb == "link" {
        return link();
    }
    if !["gateway", "loop"].contains(&verb.as_str()) {
        return Err("usage: jb-agent gateway | jb-agent loop, with its task as JSON on stdin; \
                    jb-agent link LISTEN CONNECT, each /path, address:port or *:port"
            .to_owned());
    }
    let mut task = Vec::new();
    let read = std::io::stdin().take(TASK_BYTES_MAX).read_to_end(&mut task);
    read.map_err(|error| format!("read the task: {error}"))?;
    let malformed = |error: serde_json::Error| format!("the task on stdin: {error}");
    // Refused only when one is there already, which then serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = runtime()?;
    let output = Output::stdout();
    if verb == "gateway" {
        let spec = serde_json::from_slice(&task).map_err(malformed)?;
        runtime.block_on(jb_agent::gateway::run(spec, output))
    } else {
        let spec = serde_json::from_slice(&task).map_err(malformed)?;
        runtime.block_on(async {
            let mut terminate =
                signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
            tokio::select! {
                () = jb_agent::builtin::run(spec, output) => Ok(()),
                // What it runs is ended with it.
                _ = terminate.recv() => Err("it was told to end".to_owned()),
            }
        })
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("start: {error}"))
}

/// Forwards until SIGTERM.
fn link() -> Result<(), String> {
    let mut ends = std::env::args().skip(2);
    let (Some(listen), Some(to), None) = (ends.next(), ends.next(), ends.next()) else {
        return Err("usage: jb-agent link LISTEN CONNECT".to_owned());
    };
    let (listen, to): (End, End) = (listen.parse()?, to.parse()?);
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let listener = Listener::bind(&listen).await?;
        tokio::select! {
            () = listener.forward(to) => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
