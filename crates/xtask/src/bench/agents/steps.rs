//! Agent steps as a whole.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use serde_json::Value;

use super::{CROWD, Stage, TURNS};
use crate::bench::builds;
use crate::bench::figures::{Bound, Figure, millis, quantile};
use crate::bench::stage::until;

/// Builds that come first and are not counted.
const WARM_UP: usize = 3;
/// How often one agent works alone.
const ALONE: usize = 3;

/// From the request for a build to the first request to the model, and to the first word of a task.
pub(super) async fn first_request(stage: &Stage, n: usize) -> anyhow::Result<Figure> {
    let (mut agents, mut tasks) = (Vec::new(), Vec::new());
    for round in 0..n + WARM_UP {
        let begin = SystemTime::now();
        let (_, log) = stage.run("task").await?;
        let task = until(begin, log.trim_end().lines().last().unwrap_or_default())?;
        let before = stage.model.received().len();
        let begin = SystemTime::now();
        stage.run("agent").await?;
        let received = stage.model.received();
        let asked = received.get(before).context("the agent asked nothing")?;
        let agent = millis(asked.at.duration_since(begin).context("the clock went back")?);
        if round >= WARM_UP {
            tasks.push(task);
            agents.push(agent);
        }
    }
    let beyond = |part| quantile(&agents, part) - quantile(&tasks, part);
    let what = "trigger to first model request, beyond a task's start, p50";
    Ok(Figure::new("start", what, "ms", beyond(0.5))
        .bound(Bound::AtMost(150.0))
        .more("p90", beyond(0.9))
        .more("an agent", quantile(&agents, 0.5))
        .more("a task", quantile(&tasks, 0.5)))
}

/// From the instant that an entry of a transcript bears to its arrival at a client.
pub(super) async fn transcript(stage: &Stage) -> anyhow::Result<Figure> {
    let build = builds::trigger(&stage.api, "talk").await?;
    let mut late = Vec::new();
    let opened = SystemTime::now();
    let all = stage.api.transcript(build, |entry| {
        let Some(micros) = entry["time_us"].as_u64() else { return };
        let said = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        if said > opened {
            late.push(millis(said.elapsed().unwrap_or_default()));
        }
    });
    tokio::time::timeout(builds::PATIENCE, all).await.context("the transcript does not end")??;
    let what = "entry of a transcript to client, p99";
    Ok(Figure::new("transcript", what, "ms", quantile(&late, 0.99))
        .bound(Bound::AtMost(50.0))
        .more("p50", quantile(&late, 0.5))
        .more("max", quantile(&late, 1.0))
        .more("entries", count(late.len()))
        .more("turns", count(TURNS)))
}

/// Agents that mostly wait, alone and together.
pub(super) async fn crowd(stage: &Stage) -> anyhow::Result<Figure> {
    let mut alone = Vec::new();
    for _ in 0..ALONE {
        let (build, _) = stage.run("alone").await?;
        alone.extend(durations(stage, build).await?);
    }
    let clock = Instant::now();
    let (build, _) = stage.run("crowd").await?;
    let whole = clock.elapsed();
    let together = durations(stage, build).await?;
    anyhow::ensure!(together.len() == CROWD, "{} of {CROWD} agents ended", together.len());
    Ok(Figure::new("crowd", "the slowest of 20 agents at once", "ms", quantile(&together, 1.0))
        .floor("the same alone, p50", Some(quantile(&alone, 0.5)))
        .ratio_max(1.2)
        .more("p50", quantile(&together, 0.5))
        .more("whole build", millis(whole)))
}

/// How long each agent of a build worked, in milliseconds: what is before is its container's start.
async fn durations(stage: &Stage, build: i64) -> anyhow::Result<Vec<f64>> {
    let mut times: Vec<(Value, u64, u64)> = Vec::new();
    stage
        .api
        .transcript(build, |entry| {
            let Some(at) = entry["time_us"].as_u64() else { return };
            match entry["type"].as_str() {
                Some("start") => times.push((entry["origin"].clone(), at, 0)),
                Some("end") => {
                    if let Some(known) = times.iter_mut().find(|it| it.0 == entry["origin"]) {
                        known.2 = at;
                    }
                }
                _ => {}
            }
        })
        .await?;
    let took = times.iter().filter_map(|(_, begin, end)| end.checked_sub(*begin));
    Ok(took.map(|micros| millis(Duration::from_micros(micros))).collect())
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn count(n: usize) -> f64 {
    n as f64
}
