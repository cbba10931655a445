//! `cargo xtask bench`: what the server costs, beside what the same thing costs without it.
//!
//! Every figure comes with a floor or a peer measured in the same run on the same machine, so that
//! the ratio means something where the figure alone does not. Nothing here fails for being slow.

mod agents;
mod builds;
mod figures;
mod idle;
mod kubernetes;
mod log;
mod runc;
mod script;
mod stage;
mod trigger;
mod webhook;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use figures::{Bound, Figure};
use stage::Stage;

#[derive(Args)]
pub(crate) struct Options {
    /// Write the figures to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this server instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// How often to repeat what is quick
    #[arg(long, default_value_t = 60)]
    samples: usize,
    /// The first of three ports to serve on
    #[arg(long, default_value_t = 8300)]
    port: u16,
    /// Keep the servers' state here, and leave it there
    #[arg(long)]
    state: Option<PathBuf>,
    /// Measure steps as pods instead, on a cluster that is started for it unless it runs
    #[arg(long)]
    kubernetes: bool,
    /// Measure agents instead, whose model is a script
    #[arg(long, conflicts_with = "kubernetes")]
    agents: bool,
    /// The cluster's directory
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/jetbridge-bench-cluster")]
    cluster: PathBuf,
    /// Load the images of this directory into the cluster instead of making them
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Only these: trigger, steps, webhook, log, idle, size; on a cluster: step, between, check, artifact,
    /// burst; of agents: start, gateway, transcript, crowd
    filter: Vec<String>,
}

impl Options {
    fn wants(&self, measure: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|part| measure.contains(part))
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::install::peers();
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => crate::server::build(true)?,
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = options.state.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("jetbridge-bench-{}", std::process::id()))
    });
    let measured = if options.kubernetes {
        kubernetes::measure(&binary, &dir, options)
    } else {
        let runtime = tokio::runtime::Runtime::new()?;
        if options.agents {
            runtime.block_on(agents::measure(&binary, &dir, options))
        } else {
            runtime.block_on(measure(&binary, &dir, options))
        }
    };
    if options.state.is_none() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    let figures = measured?;
    figures::print(&figures);
    if let Some(path) = &options.json {
        std::fs::write(path, figures::json(&figures)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

async fn measure(binary: &Path, dir: &Path, options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if ["trigger", "steps", "webhook", "log"].iter().any(|measure| options.wants(measure)) {
        let stage = Stage::set(binary, &dir.join("busy"), options.port).await?;
        if options.wants("trigger") {
            figures.extend(trigger::one_task(&stage, options.samples).await?);
        }
        if options.wants("steps") {
            figures.push(trigger::ten_tasks(&stage, options.samples.div_ceil(6)).await?);
        }
        if options.wants("webhook") {
            figures.push(webhook::to_build(&stage, options.samples).await?);
        }
        if options.wants("log") {
            figures.extend(log::throughput(&stage).await?);
        }
    }
    if options.wants("idle") {
        figures.extend(idle::with_pipelines(binary, &dir.join("idle"), options.port + 1).await?);
    }
    if options.wants("size") {
        figures.push(size(binary)?);
    }
    Ok(figures)
}

fn size(binary: &Path) -> anyhow::Result<Figure> {
    let bytes = std::fs::metadata(binary)?.len();
    Ok(Figure::new("size", "size of the server's program", "MiB", figures::mib(bytes))
        .bound(Bound::AtMost(40.0)))
}
