//! A check that finds nothing new.

use std::time::{Instant, SystemTime};

use serde_json::json;

use super::super::builds;
use super::super::figures::{Bound, Figure, millis, quantile};
use super::super::script::check_alone;
use super::stage::Stage;

/// Checks that come first and are not counted: one of them starts the pod.
const WARM_UP: usize = 3;

pub(super) async fn unchanged(stage: &Stage, n: usize) -> anyhow::Result<[Figure; 2]> {
    let (mut ours, mut script) = (Vec::new(), Vec::new());
    let mut begin = SystemTime::now();
    let program = crate::images::program("jb-resources")?;
    if !program.is_file() {
        println!("{} was not built, so the script's own time is missing", program.display());
    }
    for round in 0..n + WARM_UP {
        if round == WARM_UP {
            begin = SystemTime::now();
        }
        let clock = Instant::now();
        let build = builds::check(&stage.api, "quiet").await?;
        builds::succeeded(&stage.api, build, builds::PATIENCE, |_| {}).await?;
        let whole = millis(clock.elapsed());
        let alone = program
            .is_file()
            .then(|| {
                check_alone(
                    &program,
                    "mock",
                    &json!({"source": {"force_version": "v1"}, "version": {"version": "v1"}}),
                )
            })
            .transpose()?;
        if round >= WARM_UP {
            ours.push(whole - alone.unwrap_or_default());
            script.extend(alone);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let pods = stage.requests(&stage.steps.namespace, begin)?.len() as f64;
    let beyond = Figure::new("check", "check beyond its script, p50", "ms", quantile(&ours, 0.5))
        .bound(Bound::AtMost(50.0))
        .floor("the script alone, p50", (!script.is_empty()).then(|| quantile(&script, 0.5)))
        .more("p90", quantile(&ours, 0.9))
        .more("max", quantile(&ours, 1.0));
    let pods = Figure::new("check", "pods created for them", "", pods).bound(Bound::AtMost(0.0));
    Ok([beyond, pods])
}
