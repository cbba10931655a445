//! From the request for a build to a running process, and from one step to the next.

use std::time::{Instant, SystemTime};

use super::figures::{Bound, Figure, millis, quantile};
use super::runc::Run;
use super::stage::{Stage, until};

/// Builds that come first and are not counted: they fetch the image.
const WARM_UP: usize = 3;
const STEPS: f64 = 10.0;

pub(super) async fn one_task(stage: &Stage, n: usize) -> anyhow::Result<[Figure; 2]> {
    let pinned = figure(stage, "one", "trigger to process started, p50", n).await?;
    let checked = figure(stage, "checked", "the same after a check of the image", n).await?;
    Ok([pinned.bound(Bound::AtMost(60.0)).ratio_max(2.0), checked])
}

async fn figure(stage: &Stage, job: &str, what: &'static str, n: usize) -> anyhow::Result<Figure> {
    let (mut ours, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..n + WARM_UP {
        let (begin, clock) = (SystemTime::now(), Instant::now());
        let build = stage.trigger(job).await?;
        let log = stage.succeeded(build).await?;
        let over = millis(clock.elapsed());
        let started = until(begin, last_line(&log))?;
        let run = peer(stage)?;
        if round >= WARM_UP {
            ours.push(started);
            whole.push(over);
            bare.extend(run.map(|run| run.started));
        }
    }
    Ok(Figure::new("trigger", what, "ms", quantile(&ours, 0.5))
        .floor("bare runc run", (!bare.is_empty()).then(|| quantile(&bare, 0.5)))
        .more("min", quantile(&ours, 0.0))
        .more("p90", quantile(&ours, 0.9))
        .more("p99", quantile(&ours, 0.99))
        .more("whole build", quantile(&whole, 0.5)))
}

pub(super) async fn ten_tasks(stage: &Stage, n: usize) -> anyhow::Result<Figure> {
    let (mut ours, mut bare, mut between) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..n + 1 {
        let clock = Instant::now();
        let build = stage.trigger("ten").await?;
        let log = stage.succeeded(build).await?;
        let step = millis(clock.elapsed()) / STEPS;
        let times = log.lines().filter_map(|line| line.trim().parse::<u64>().ok());
        let times: Vec<u64> = times.collect();
        let mut runs = Vec::new();
        for _ in 0..10 {
            runs.extend(peer(stage)?.map(|run| run.whole));
        }
        if round > 0 {
            ours.push(step);
            bare.extend(runs);
            let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
            between.extend(gaps.map(|nanos| millis(std::time::Duration::from_nanos(nanos))));
        }
    }
    let (per_step, floor) = (quantile(&ours, 0.5), quantile(&bare, 0.5));
    let value = if bare.is_empty() { per_step } else { per_step - floor };
    let what = "extra wall time per step of ten, p50";
    let mut figure = Figure::new("steps", what, "ms", value).bound(Bound::AtMost(15.0));
    if !bare.is_empty() {
        figure = figure.more("a runc run", floor);
    }
    Ok(figure
        .more("a step", per_step)
        .more("start to start", quantile(&between, 0.5))
        .more("its p90", quantile(&between, 0.9)))
}

fn peer(stage: &Stage) -> anyhow::Result<Option<Run>> {
    stage.runc.as_ref().ok().map(super::runc::Runc::run).transpose()
}

fn last_line(log: &str) -> &str {
    log.trim_end().lines().last().unwrap_or_default()
}
