//! From a forge's webhook to the build it leads to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::figures::{Bound, Figure, millis, quantile};
use super::stage::{Stage, eventually};

/// Builds that come first and are not counted.
const WARM_UP: usize = 3;
/// The time between looks at whether the build has started; looking costs something too.
const LOOK: Duration = Duration::from_millis(4);

pub(super) async fn to_build(stage: &Stage, n: usize) -> anyhow::Result<Figure> {
    let (mut total, mut script, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = 0;
    for round in 0..n + WARM_UP {
        let begin = Instant::now();
        let hook = "/teams/main/pipelines/bench/resources/news/check/webhook?webhook_token=hush";
        stage.api.post(hook, "").await?;
        let build = eventually("a build", LOOK, async || {
            let newest = stage.newest("follow").await?;
            Ok(newest.filter(|build| id(build) > last && build["status"] != "pending"))
        })
        .await?;
        let whole = millis(begin.elapsed());
        last = id(&build);
        stage.succeeded(last).await?;
        let own = super::script::check_alone(
            &stage.dir.join("server/bin/jb-resources"),
            "time",
            &json!({"source": {"interval": "1ms"}, "version": null}),
        )?;
        if round >= WARM_UP {
            total.push(whole);
            script.push(own);
            beyond.push(whole - own);
        }
    }
    let what = "webhook to build started beyond the script, p99";
    Ok(Figure::new("webhook", what, "ms", quantile(&beyond, 0.99))
        .floor("the script alone, p50", Some(quantile(&script, 0.5)))
        .bound(Bound::AtMost(150.0))
        .more("p50", quantile(&beyond, 0.5))
        .more("p90", quantile(&beyond, 0.9))
        .more("max", quantile(&beyond, 1.0)))
}

fn id(build: &Value) -> i64 {
    build["id"].as_i64().unwrap_or_default()
}
