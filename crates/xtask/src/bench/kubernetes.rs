//! `cargo xtask bench --kubernetes`: what a step as a pod costs, beside a bare pod of the same image and command.
//!
//! When pods were asked for is read from the API server's audit log, for ours and for bare ones alike.

mod artifact;
mod audit;
mod bare;
mod burst;
mod check;
mod objects;
mod stage;
mod step;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Options;
use super::figures::Figure;
use crate::cluster::place::Place;
use crate::cluster::{self, NetworkPolicy};
use crate::images;
use stage::Stage;

/// A bare pod takes seconds: fewer samples than of what is quick.
const SAMPLES_PART: usize = 3;

pub(super) fn measure(binary: &Path, dir: &Path, options: &Options) -> anyhow::Result<Vec<Figure>> {
    let was_running = cluster::is_running(&options.cluster)?;
    cluster::up(&options.cluster, NetworkPolicy::Enforced)?;
    let measured = on_cluster(binary, dir, options);
    if !was_running {
        cluster::down(&options.cluster)?;
    }
    measured
}

fn on_cluster(binary: &Path, dir: &Path, options: &Options) -> anyhow::Result<Vec<Figure>> {
    cluster::load(&options.cluster, &archives(options)?)?;
    let place = Place::new(&options.cluster)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let stage = Stage::set(binary, dir, &place, options.port).await?;
        let figures = figures(&stage, options).await;
        stage.clear().await?;
        figures
    })
}

async fn figures(stage: &Stage, options: &Options) -> anyhow::Result<Vec<Figure>> {
    let samples = options.samples.div_ceil(SAMPLES_PART);
    let mut figures = Vec::new();
    if options.wants("step") {
        figures.extend(step::one(stage, samples).await?);
    }
    if options.wants("between") {
        figures.extend(step::many(stage, samples.div_ceil(step::STEPS)).await?);
    }
    if options.wants("check") {
        figures.extend(check::unchanged(stage, options.samples).await?);
    }
    if options.wants("artifact") {
        figures.push(artifact::between_pods(stage, samples.div_ceil(SAMPLES_PART)).await?);
    }
    if options.wants("burst") {
        figures.push(burst::at_once(stage).await?);
    }
    Ok(figures)
}

/// The images that the cluster needs.
fn archives(options: &Options) -> anyhow::Result<Vec<PathBuf>> {
    use images::Image::{Resources, Runner, Task};
    let wanted = [Resources, Runner, Task];
    let Some(dir) = &options.images else {
        return images::assemble(&images::Options {
            dev: false,
            only: wanted.to_vec(),
            is_built: options.binary.is_some(),
            ..images::Options::local()
        });
    };
    let archive = |image: images::Image| {
        let path = dir.join(format!("{}.tar", image.name()));
        path.is_file().then_some(path).with_context(|| {
            format!("{} has no {}.tar; `cargo xtask images` makes it", dir.display(), image.name())
        })
    };
    wanted.into_iter().map(archive).collect()
}
