//! From the request for a step's pod to its exit status, from one step to the next, and what that writes.

use std::time::SystemTime;

use anyhow::{Context as _, ensure};

use super::super::figures::{Bound, Figure, quantile};
use super::audit::nanos;
use super::bare::{self, Kind};
use super::stage::{Stage, between, times};

/// Of the job with several steps.
pub(super) const STEPS: usize = 5;
/// Builds that come first and are not counted.
const WARM_UP: usize = 2;

pub(super) async fn one(stage: &Stage, n: usize) -> anyhow::Result<[Figure; 3]> {
    let (mut ours, mut ran) = (Vec::new(), Vec::new());
    let (mut bare_ran, mut init_ran, mut bare_succeeded) = (Vec::new(), Vec::new(), Vec::new());
    let (mut writes, mut begin) = (0, SystemTime::now());
    for round in 0..n + WARM_UP {
        if round == WARM_UP {
            begin = SystemTime::now();
        }
        let asked = SystemTime::now();
        let (log, ends) = stage.run("one").await?;
        stage.quiet().await?;
        let requested = only(stage.steps_requested(asked)?.into_iter())?;
        let known = only(ends.into_iter())?;
        let printed = only(times(&log).into_iter())?;
        let bare =
            only(bare::run(stage, &[format!("bare-{round}")], Kind::Plain).await?.into_iter())?;
        let init =
            only(bare::run(stage, &[format!("init-{round}")], Kind::WithInit).await?.into_iter())?;
        if round >= WARM_UP {
            ours.push(between(requested, nanos(known)?));
            ran.push(between(requested, printed));
            bare_ran.push(between(bare.requested, bare.ran));
            bare_succeeded.push(between(bare.requested, bare.succeeded));
            init_ran.push(between(init.requested, init.ran));
        }
    }
    writes += stage.writes(begin)?.len();
    let what = "pod requested to exit status known, p50";
    let value = quantile(&ours, 0.5);
    let to_ran = Figure::new("step", what, "ms", value)
        .floor("bare pod with an init container: created to ran", Some(quantile(&init_ran, 0.5)))
        .ratio_max(1.3)
        .more("min", quantile(&ours, 0.0))
        .more("p90", quantile(&ours, 0.9))
        .more("to process ran", quantile(&ran, 0.5))
        .more("bare pod to ran", quantile(&bare_ran, 0.5));
    let to_succeeded = Figure::new("step", what, "ms", value)
        .floor("bare pod: created to Succeeded", Some(quantile(&bare_succeeded, 0.5)))
        .ratio_max(1.0);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let per_step = writes as f64 / n as f64;
    let writes = Figure::new("writes", "writes to the API server per step", "", per_step)
        .bound(Bound::AtMost(2.0));
    Ok([to_ran, to_succeeded, writes])
}

/// From the last thing that a step's process does to the request for the next step's pod. That is more than the server
/// takes: the process has to end, and word of it to come from the node.
pub(super) async fn many(stage: &Stage, n: usize) -> anyhow::Result<[Figure; 1]> {
    let mut gaps = Vec::new();
    for round in 0..n + 1 {
        let asked = SystemTime::now();
        let (log, _) = stage.run("many").await?;
        stage.quiet().await?;
        let requests = stage.steps_requested(asked)?;
        let printed = times(&log);
        ensure!(printed.len() == STEPS && requests.len() == STEPS, "steps are missing:\n{log}");
        if round > 0 {
            gaps.extend(printed.iter().zip(&requests[1..]).map(|(from, to)| between(*from, *to)));
        }
    }
    let what = "step's last act to next pod requested, p50";
    Ok([Figure::new("between", what, "ms", quantile(&gaps, 0.5))
        .bound(Bound::AtMost(20.0))
        .more("min", quantile(&gaps, 0.0))
        .more("p90", quantile(&gaps, 0.9))])
}

fn only<T>(mut all: impl Iterator<Item = T>) -> anyhow::Result<T> {
    let first = all.next().context("there is none where one was expected")?;
    ensure!(all.next().is_none(), "there are several where one was expected");
    Ok(first)
}
