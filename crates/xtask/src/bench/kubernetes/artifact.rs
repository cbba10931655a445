//! 100 MiB from one pod to the next on the same node.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::super::figures::{Figure, millis, quantile};
use super::stage::{Stage, between, make, times};

/// What the artifact takes is the difference between carrying it and carrying an empty one.
pub(super) async fn between_pods(stage: &Stage, n: usize) -> anyhow::Result<Figure> {
    let (mut full, mut empty, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    make(&stage.scratch.join("source"))?;
    for round in 0..n + 1 {
        let with = carried(stage, "carry").await?;
        let without = carried(stage, "carry-nothing").await?;
        let bare = packed_and_unpacked(&stage.scratch)?;
        if round > 0 {
            full.push(with);
            empty.push(without);
            floor.push(bare);
        }
    }
    let value = quantile(&full, 0.5) - quantile(&empty, 0.5);
    let what = "100 MiB between two pods of a node, p50";
    Ok(Figure::new("artifact", what, "ms", value)
        .floor("tar | zstd, and zstd -d | tar", Some(quantile(&floor, 0.5)))
        .ratio_max(1.5)
        .more("step to step with it", quantile(&full, 0.5))
        .more("without", quantile(&empty, 0.5)))
}

/// Milliseconds from the end of the step that makes it to the start of the one that takes it.
async fn carried(stage: &Stage, job: &str) -> anyhow::Result<f64> {
    let (log, _) = stage.run(job).await?;
    stage.quiet().await?;
    let times = times(&log);
    ensure!(times.len() == 2, "job `{job}` did not print two times:\n{log}");
    Ok(between(times[0], times[1]))
}

fn packed_and_unpacked(scratch: &Path) -> anyhow::Result<f64> {
    let target = scratch.join("target");
    std::fs::create_dir_all(&target)?;
    let begin = Instant::now();
    for script in [
        "tar -C source -cf - . | zstd -q -f -o archive",
        "zstd -q -d -c archive | tar -C target -xf -",
    ] {
        let status = Command::new("sh").args(["-ec", script]).current_dir(scratch).status();
        let status = status.with_context(|| format!("run `{script}`"))?;
        ensure!(status.success(), "`{script}` failed: {status}");
    }
    let took = millis(begin.elapsed());
    std::fs::remove_dir_all(&target)?;
    Ok(took)
}
