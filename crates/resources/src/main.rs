//! The built-in resource types in one static binary.
//!
//! `jb-resources TYPE check|in DIR|out DIR`, or installed as `/opt/resource/{check,in,out}` with the type's name in
//! `/opt/resource/type`. JSON on stdin, JSON on stdout, a log for people on stderr, exit status 1 when it fails.

mod git;
mod invocation;
mod log;
mod mock;
mod payload;
mod registry_image;
mod time;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::invocation::{Action, Invocation, Kind};
use crate::payload::Payload;

fn main() -> ExitCode {
    let log = log::Log::start();
    let argv: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let invocation = match invocation::parse(&argv, invocation::installed_type) {
        Ok(invocation) => invocation,
        Err(error) => {
            log.fatal(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match invocation {
        Invocation::Resource { kind, action } => run(kind, &action, &log),
        Invocation::Askpass { prompt } => git::askpass::answer(&prompt),
        Invocation::Ssh { args } => git::ssh::exec(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.fatal(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(kind: Kind, action: &Action, log: &log::Log) -> anyhow::Result<()> {
    let payload = Payload::read(std::io::stdin().lock())?;
    let response = match kind {
        Kind::Git => git::run(action, &payload, log),
        Kind::Time => time::run(action, &payload, log),
        Kind::RegistryImage => registry_image::run(action, &payload, log),
        Kind::Mock => mock::run(action, &payload, log),
    }?;
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, &response)
        .map_err(std::io::Error::from)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
        .context("failed to write the response to stdout")
}
