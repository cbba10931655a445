//! `cargo xtask cluster`: a real Kubernetes of one node on this machine, for tests and for trying things out.
//!
//! Its components are the stock ones, built from their Go modules. They run as processes of this machine in a network
//! namespace, control groups and a directory of their own, so several clusters can run side by side and
//! `down` leaves nothing.

pub(crate) mod certificates;
mod configuration;
mod objects;
pub(crate) mod place;
pub(crate) mod processes;
pub(crate) mod programs;
mod start;
mod sweep;
mod wires;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::cluster::configuration::Component;
use crate::cluster::place::Place;
use crate::cluster::programs::Programs;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
    /// Where the cluster's state lies; each directory is a cluster of its own
    #[arg(long, global = true, env = "JETBRIDGE_CLUSTER_DIR", default_value = DIR)]
    dir: PathBuf,
}

/// Where a cluster lies unless another place is named.
pub(crate) const DIR: &str = "/var/tmp/jetbridge-cluster";

#[derive(Subcommand)]
enum Action {
    /// Start it and print the path of its kubeconfig; does nothing when it runs
    Up {
        /// Whether NetworkPolicies are enforced, or only stored as on clusters without support for them
        #[arg(
            long,
            value_enum,
            env = "JETBRIDGE_CLUSTER_NETWORK_POLICY",
            default_value = "enforced"
        )]
        network_policy: NetworkPolicy,
    },
    /// Stop it and remove all it has left on this machine
    Down,
    /// Run kubectl against it
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Give it images: OCI or docker archives, such as `cargo xtask images` makes
    Load {
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// End one of its components without a word, such as `kubelet` or `apiserver`; its pods go on
    Stop { component: String },
    /// Start a component that was stopped
    Start { component: String },
    /// Print how a shell's programs reach it, for `eval "$(cargo xtask cluster env)"`
    Env,
    /// Build what it is made of, which `up` does, too; needs no root
    Build,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkPolicy {
    Enforced,
    Stored,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let place = Place::new(&options.dir)?;
    match &options.action {
        Action::Up { network_policy } => {
            up(&options.dir, *network_policy)?;
            println!("{}", place.kubeconfig().display());
        }
        Action::Down => down(&options.dir)?,
        Action::Kubectl { arguments } => {
            let mut command = kubectl(&place, &Programs::built()?);
            // In this process's place, so that terminals, signals and the exit status are its own.
            return Err(command.args(arguments).exec()).context("start kubectl");
        }
        Action::Load { archives } => import(&place, &Programs::built()?, archives)?,
        Action::Stop { component } => {
            component_of(&place, component)?;
            processes::stop(&place, component)?;
        }
        Action::Start { component } => {
            let component = component_of(&place, component)?;
            if !processes::alive(&place, component.name) {
                processes::start(&place, &Programs::built()?, &component)?;
            }
        }
        Action::Env => {
            for (name, value) in place.variables() {
                println!("export {name}={value}");
            }
            println!("export PATH={}:$PATH", commands(&options.dir).display());
        }
        Action::Build => build()?,
    }
    Ok(())
}

/// A component of a cluster that is up, by its name.
fn component_of(place: &Place, name: &str) -> anyhow::Result<Component> {
    let programs = Programs::built()?;
    let policy = if place.log("network-policy").exists() {
        NetworkPolicy::Enforced
    } else {
        NetworkPolicy::Stored
    };
    let mut all = configuration::foundation(place, &programs);
    all.extend(configuration::controllers(place, &programs, policy));
    let names: Vec<&str> = all.iter().map(|component| component.name).collect();
    let unknown = format!("there is no component `{name}`; there are {}", names.join(", "));
    if !place.kubeconfig().exists() {
        bail!("there is no cluster in {}: `cargo xtask cluster up` makes one", place.dir.display());
    }
    all.into_iter().find(|component| component.name == name).context(unknown)
}

/// Starts the cluster of a directory unless it runs.
pub(crate) fn up(dir: &Path, network_policy: NetworkPolicy) -> anyhow::Result<()> {
    let place = Place::new(dir)?;
    start::up(&place, network_policy)?;
    write_kubectl(&place, &Programs::built()?)
}

/// Whether the cluster of a directory runs.
pub(crate) fn is_running(dir: &Path) -> anyhow::Result<bool> {
    Ok(start::running(&Place::new(dir)?))
}

/// A directory with `kubectl`, for programs that look for it in `PATH`.
pub(crate) fn commands(dir: &Path) -> PathBuf {
    dir.join("bin")
}

fn write_kubectl(place: &Place, programs: &Programs) -> anyhow::Result<()> {
    let dir = commands(&place.dir);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join("kubectl");
    let script = format!("#!/bin/sh\nexec '{}' kubectl \"$@\"\n", programs.kubernetes.display());
    fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", path.display()))
}

/// Stops the cluster of a directory, if there is one, and removes it.
pub(crate) fn down(dir: &Path) -> anyhow::Result<()> {
    sweep::down(&Place::new(dir)?)
}

/// Builds what clusters are made of.
pub(crate) fn build() -> anyhow::Result<()> {
    crate::install::cluster_tools()?;
    programs::build().map(|_| ())
}

/// Why no cluster can be had here; None when one can.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root");
    }
    programs::obstacle()
}

/// What programs that use the cluster of a directory are told of it.
pub(crate) fn variables(dir: &Path) -> anyhow::Result<[(&'static str, String); 5]> {
    Ok(Place::new(dir)?.variables())
}

/// `kubectl` that speaks to this cluster.
pub(crate) fn kubectl(place: &Place, programs: &Programs) -> Command {
    let mut command = Command::new(&programs.kubernetes);
    command.arg("kubectl").env("KUBECONFIG", place.kubeconfig());
    command
}

/// Runs `kubectl` with arguments that must succeed.
fn kubectl_ok(place: &Place, programs: &Programs, arguments: &[&str]) -> anyhow::Result<()> {
    let output = kubectl(place, programs).args(arguments).output().context("start kubectl")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

/// Gives the cluster of a directory images.
pub(crate) fn load(dir: &Path, archives: &[PathBuf]) -> anyhow::Result<()> {
    import(&Place::new(dir)?, &Programs::built()?, archives)
}

/// Imports images, so that pods use them without any registry.
fn import(place: &Place, programs: &Programs, archives: &[PathBuf]) -> anyhow::Result<()> {
    for archive in archives {
        let output = programs
            .ctr(place)
            .args(["images", "import", "--digests=true"])
            .arg(archive)
            .output()
            .context("start ctr")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("import {}: {}", archive.display(), said.trim());
        }
    }
    Ok(())
}
