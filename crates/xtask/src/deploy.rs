//! `cargo xtask deploy`: what is in `deploy/`, and the tools that render and install it.

pub(crate) mod tools;
mod trial;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cluster::place::Place;
use crate::deploy::tools::Tools;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
    /// The cluster to speak to, by the directory of its state; see `cargo xtask cluster`
    #[arg(long, global = true, env = "JETBRIDGE_CLUSTER_DIR", default_value = crate::cluster::DIR)]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// Build helm and kustomize, once for this machine
    Tools,
    /// Run helm, on the cluster
    Helm {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run kustomize
    Kustomize {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install JetBridge on the cluster, run a pipeline there, and uninstall it: nothing may be left
    Trial(trial::Options),
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let place = Place::new(&options.dir)?;
    match &options.action {
        Action::Tools => {
            let Tools { helm, kustomize } = tools::build()?;
            println!("{}\n{}", helm.display(), kustomize.display());
        }
        Action::Helm { arguments } => {
            let mut command = helm(&place, &Tools::built()?);
            // In this process's place, so that terminals, signals and the exit status are its own.
            return Err(command.args(arguments).exec()).context("start helm");
        }
        Action::Kustomize { arguments } => {
            let mut command = Command::new(Tools::built()?.kustomize);
            return Err(command.args(arguments).exec()).context("start kustomize");
        }
        Action::Trial(options) => trial::run(options, &place)?,
    }
    Ok(())
}

/// Where chart and Kustomize base are.
fn directory(name: &str) -> PathBuf {
    crate::server::root().join("deploy").join(name)
}

/// helm that speaks to this cluster.
fn helm(place: &Place, tools: &Tools) -> Command {
    let mut command = Command::new(&tools.helm);
    command.env("KUBECONFIG", place.kubeconfig());
    command
}
