//! Tasks of the project, run as `cargo xtask <task>`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod api;
mod bench;
mod cluster;
mod collector;
mod demo;
mod deploy;
mod go;
mod harnesses;
mod images;
mod install;
mod object_store;
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
    /// Run a real Kubernetes of one node on this machine
    Cluster(cluster::Options),
    /// Build, start a server, and run a pipeline on a real git repository
    Demo(demo::Options),
    /// Render, install and try the chart and the Kustomize base
    Deploy(deploy::Options),
    /// Assemble the images of a deployment, without a daemon
    Images(images::Options),
    /// Install what the tests need where possible, and run every test
    Test(test::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.task {
        Task::Bench(options) => bench::run(&options),
        Task::Cluster(options) => cluster::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Deploy(options) => deploy::run(&options),
        Task::Images(options) => images::run(&options),
        Task::Test(options) => test::run(&options),
    }
}
