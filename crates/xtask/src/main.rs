//! Tasks of the project, run as `cargo xtask <task>`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod api;
mod bench;
mod demo;
mod install;
mod server;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the JetBridge project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure what the server costs, beside what the same costs without it
    Bench(bench::Options),
    /// Build, start a server, and run a pipeline on a real git repository
    Demo(demo::Options),
    /// Install what the tests need where possible, and run every test
    Test(test::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.task {
        Task::Bench(options) => bench::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
    }
}
