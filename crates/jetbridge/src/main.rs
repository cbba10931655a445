//! The server and its command line.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod agents;
mod approvals;
mod base_defaults;
mod cli;
mod client;
mod doctor;
mod embedded;
mod engine_port;
mod kubernetes;
mod local;
mod logging;
mod metrics;
mod password;
mod run;
mod settings;
mod terminal;
mod traces;
mod web;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // The shim becomes a container's parent: it must stay single-threaded, so it comes before all else.
    if arguments.get(1).is_some_and(|argument| argument == "shim") {
        let code = jb_runtime_local::shim_main(arguments.into_iter().skip(2));
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let command = cli::Cli::command();
    let arguments = settings::with_environment(&command, arguments, |name| std::env::var_os(name));
    let parsed = cli::Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| cli::Cli::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are not errors to the shell; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(parsed) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: cli::Cli) -> anyhow::Result<ExitCode> {
    // TLS to registries needs a provider; a second installation is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        cli::Command::Web(options) => runtime.block_on(web::run(*options)),
        cli::Command::Run(options) => runtime.block_on(run::run(*options)),
        cli::Command::Approvals(options) => runtime.block_on(approvals::list(options)),
        cli::Command::Approve(options) => runtime.block_on(approvals::answer(options, true)),
        cli::Command::Deny(options) => runtime.block_on(approvals::answer(options, false)),
        cli::Command::Clean(options) => {
            let state = local::state_dir(&options.state)?;
            local::runtime(&options.state, &state)?.release()?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Command::Doctor(options) => doctor::run(&options),
    }
}
