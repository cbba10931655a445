//! `cargo xtask test`: everything that must hold, in one command.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// Only the tests whose names contain this
    filter: Option<String>,
    /// Leave out formatting and lints
    #[arg(long)]
    only_tests: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let missing = crate::install::tools();
    if !options.only_tests {
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
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
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
