//! Many builds at once.

use std::time::{Duration, Instant};

use super::super::builds;
use super::super::figures::{Figure, millis};
use super::bare::{self, Kind};
use super::stage::{Stage, between};

const BUILDS: usize = 50;
const ROUNDS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(600);

/// The time until all have ended well, beside that of as many bare pods.
pub(super) async fn at_once(stage: &Stage) -> anyhow::Result<Figure> {
    let (mut ours, mut floor, mut isolated) = (0.0, 0.0, 0.0);
    stage.run("one").await?;
    for round in 0..ROUNDS {
        stage.quiet().await?;
        floor += pods(stage, round, Kind::Plain).await?;
        isolated += pods(stage, round, Kind::Isolated).await?;
        let begin = Instant::now();
        let builds = (0..BUILDS).map(async |_| {
            let build = builds::trigger(&stage.api, "one").await?;
            builds::succeeded(&stage.api, build, PATIENCE, |_| {}).await
        });
        futures_util::future::try_join_all(builds).await?;
        ours += millis(begin.elapsed()) / 1000.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rounds = ROUNDS as f64;
    Ok(Figure::new("burst", "50 builds at once, all ended", "s", ours / rounds)
        .floor("50 bare pods, all Succeeded", Some(floor / rounds))
        .ratio_max(1.15)
        .more("bare pods as isolated as steps", isolated / rounds))
}

/// Seconds from the first request for a bare pod until all have succeeded.
async fn pods(stage: &Stage, round: usize, kind: Kind) -> anyhow::Result<f64> {
    let names: Vec<String> = (0..BUILDS).map(|n| format!("burst-{round}-{n}")).collect();
    let runs = bare::run(stage, &names, kind).await?;
    let first = runs.iter().map(|run| run.requested).min().unwrap_or_default();
    let last = runs.iter().map(|run| run.succeeded).max().unwrap_or_default();
    Ok(between(first, last) / 1000.0)
}
