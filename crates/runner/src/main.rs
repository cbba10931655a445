//! The first process of every container: keeps its journal, its terminal and its exit status.
//!
//! `jb-runner serve` is the container's process 1. One thread waits for everything with `poll`: the
//! listening socket, its connections, the output and input of processes, and signals. Output goes
//! to a journal on disk first and from there to whoever is attached, so a slow or absent server
//! costs neither memory nor time. `jb-runner connect` joins its own stdin and stdout to the socket,
//! for a server that can only execute a command in the container.

use std::io::Write;
use std::process::ExitCode;

mod args;
mod capability;
mod connect;
mod journal;
mod oom;
mod process;
mod serve;
mod sys;
mod user;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match args::parse(&arguments) {
        Ok(args::Command::Serve(options)) => serve::serve(options),
        Ok(args::Command::Connect { socket, announce }) => connect::bridge(&socket, announce),
        Err(message) => {
            say(&message);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            say(&message);
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr. There is nobody to tell when that fails.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "jb-runner: {message}");
}
