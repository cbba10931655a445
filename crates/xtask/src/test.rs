//! `cargo xtask test`: everything that must hold, in one command.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::install::on_path;

#[derive(Args)]
pub(crate) struct Options {
    /// Only the tests whose names contain this
    filter: Option<String>,
    /// Leave out formatting and lints
    #[arg(long)]
    only_tests: bool,
}

/// A check by a program that takes minutes to compile: it runs where someone installed it.
struct Check {
    what: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    install: &'static str,
}

const CHECKS: [Check; 2] = [
    Check {
        what: "spelling",
        program: "typos",
        arguments: &[],
        install: "cargo install --locked typos-cli",
    },
    // Advisories need the network and change by themselves: `cargo deny check advisories` is for releases.
    Check {
        what: "licenses, sources and bans of dependencies",
        program: "cargo-deny",
        arguments: &["--offline", "--log-level", "error", "check", "bans", "licenses", "sources"],
        install: "cargo install --locked cargo-deny",
    },
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let missing = crate::install::tools();
    let mut unchecked = Vec::new();
    if !options.only_tests {
        for check in &CHECKS {
            if on_path(check.program) {
                step(check.what, command(check.program, check.arguments))?;
            } else {
                unchecked.push(check);
            }
        }
        step("formatting", cargo(&["fmt", "--all", "--check"]))?;
        step(
            "lints",
            cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        )?;
    }
    let mut tests = cargo(&["test", "--workspace"]);
    if let Some(filter) = &options.filter {
        tests.arg(filter);
    }
    if !missing.contains(&"postgresql") {
        tests.env("JETBRIDGE_REQUIRE_POSTGRES", "1");
    }
    if !missing.contains(&"docker-registry") {
        tests.env("JETBRIDGE_REQUIRE_REGISTRY", "1");
    }
    step("tests", tests)?;
    println!("all passed in {} s", begin.elapsed().as_secs());
    for package in missing {
        println!("SKIPPED: what needs `{package}`");
    }
    for Check { what, program, install, .. } in unchecked {
        println!("NOT CHECKED: {what}, as there is no `{program}`; `{install}` installs it");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn step(what: &str, mut command: Command) -> anyhow::Result<()> {
    println!("== {what}");
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{what} failed: {command:?}");
    }
    Ok(())
}
