//! The command line: `jb-agent gateway`, `jb-agent serve`, `jb-agent loop` and a verb for the driver of each command line of others, each with
//! its task on stdin; `jb-agent link` and `jb-agent mcp`, which pass bytes on.

use std::io::Write as _;
use std::process::ExitCode;

use jb_agent::link::{End, Listener};
use jb_agent::stdin::Told;
use jb_agent::{Decisions, Output};
use jb_agent_protocol::CommandLine;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::signal::unix::{SignalKind, signal};

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
    keep_to_itself()?;
    let verb = std::env::args().nth(1).unwrap_or_default();
    if verb == "link" {
        return link();
    }
    if verb == "mcp" {
        return mcp();
    }
    let driven = CommandLine::named(&verb);
    if driven.is_none() && !["gateway", "serve", "loop"].contains(&verb.as_str()) {
        let drivers = CommandLine::ALL.map(|line| line.name).join(" | ");
        return Err(format!(
            "usage: jb-agent gateway | serve | loop | {drivers}, with its task as JSON on stdin; \
             jb-agent link LISTEN CONNECT, each /path, address:port or *:port; jb-agent mcp SOCKET"
        ));
    }
    let mut told = Told::default();
    // Refused only when one is there already, which then serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = runtime()?;
    let output = Output::stdout();
    if verb == "gateway" {
        runtime.block_on(jb_agent::gateway::run(told.task()?, output))
    } else if verb == "serve" {
        runtime.block_on(jb_agent::server::run(told.task()?, output))
    } else {
        let spec = told.task()?;
        let decisions = Decisions::default();
        told.follow(decisions.clone())?;
        runtime.block_on(async {
            let mut terminate =
                signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
            let work = async {
                match driven {
                    Some(line) => jb_agent::driver::run(line, spec, decisions, output).await,
                    None => jb_agent::builtin::run(spec, decisions, output).await,
                }
            };
            tokio::select! {
                () = work => Ok(()),
                // What it runs is ended with it.
                _ = terminate.recv() => Err("it was told to end".to_owned()),
            }
        })
    }
}

/// Lets no program of the same user read this one's memory or take it over, as those that an agent starts might.
fn keep_to_itself() -> Result<(), String> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("keep others out of this program's memory: {error}"))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("start: {error}"))
}

/// Passes messages on until either end is gone.
fn mcp() -> Result<(), String> {
    let mut arguments = std::env::args().skip(2);
    let (Some(socket), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: jb-agent mcp SOCKET".to_owned());
    };
    // Reading stdin takes a thread that waits; it is not waited for.
    let runtime = runtime()?;
    let passed = runtime.block_on(jb_agent::driver::relay(&socket));
    runtime.shutdown_background();
    passed
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
