//! How fast a task's output reaches someone who watches.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::figures::{Bound, Figure, mib, quantile};
use super::stage::{PATIENCE, Stage};
use crate::server::memory;

const LINES: u64 = 1_000_000;
/// Prints that many lines, each with its number.
pub(super) const COMMAND: &str = "seq -f \"line %.0f of a log that says so\" 1000000";
const ROUNDS: usize = 3;

pub(super) async fn throughput(stage: &Stage) -> anyhow::Result<[Figure; 2]> {
    let (mut rates, mut growths, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let before = memory(stage.server.id())?;
        // The highest mark counts from here.
        std::fs::write(format!("/proc/{}/clear_refs", stage.server.id()), "5")?;
        let rate = watched(stage).await?;
        let after = memory(stage.server.id())?;
        // The first round brings everything to its working size.
        if round > 0 {
            rates.push(rate);
            growths.push(mib(after.peak.saturating_sub(before.resident)));
            floors.extend(terminal()?);
        }
    }
    let best = |values: &[f64]| (!values.is_empty()).then(|| quantile(values, 0.5));
    let rate = Figure::new("log", "lines to a watcher per second", "", quantile(&rates, 0.5))
        .floor("the program on a bare terminal", best(&floors))
        .bound(Bound::AtLeast(200_000.0))
        .more("worst", quantile(&rates, 0.0));
    let growth = Figure::new("log", "memory growth meanwhile", "MiB", quantile(&growths, 1.0))
        .bound(Bound::AtMost(32.0))
        .more("p50", quantile(&growths, 0.5));
    Ok([rate, growth])
}

/// Lines per second, from the process's start to the watcher's last line.
async fn watched(stage: &Stage) -> anyhow::Result<f64> {
    let build = stage.trigger("lines").await?;
    let all = stage.api.raw_events(build);
    let stream = tokio::time::timeout(PATIENCE, all).await.context("the log does not end")??;
    let end = SystemTime::now();
    let mut log = String::new();
    for line in stream.split(|byte| *byte == b'\n') {
        let Some(data) = line.strip_prefix(b"data: ") else { continue };
        let event: Value = serde_json::from_slice(data)?;
        if event["event"] == "log" {
            log.push_str(event["data"]["payload"].as_str().unwrap_or_default());
        }
    }
    let mut lines = log.lines();
    let begin: u64 = lines.next().unwrap_or_default().trim().parse().context("no start time")?;
    for expected in 1..=LINES {
        let Some(line) = lines.next() else { bail!("the log ends before line {expected}") };
        if line.trim_end() != format!("line {expected} of a log that says so") {
            bail!("line {expected} of the log is `{line}`");
        }
    }
    let begin = SystemTime::UNIX_EPOCH + Duration::from_nanos(begin);
    Ok(per_second(end.duration_since(begin)?))
}

/// The same program on a terminal of its own; none where there is no `script`.
fn terminal() -> anyhow::Result<Option<f64>> {
    let begin = Instant::now();
    let child = Command::new("script")
        .args(["-qec", COMMAND, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return Ok(None) };
    let mut pipe = child.stdout.take().context("no stdout")?;
    let mut buffer = vec![0; 64 << 10];
    while pipe.read(&mut buffer)? > 0 {}
    child.wait()?;
    Ok(Some(per_second(begin.elapsed())))
}

fn per_second(took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a million")]
    let lines = LINES as f64;
    lines / took.as_secs_f64()
}
