//! From a forge's webhook to the build it leads to.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::figures::{Bound, Figure, millis, quantile};
use super::stage::{Stage, eventually};

pub(super) async fn to_build(stage: &Stage, n: usize) -> anyhow::Result<Figure> {
    let (mut total, mut script, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    let known = stage.newest("follow").await?.map_or(0, |build| id(&build));
    // The check that set the stage triggers the first.
    let first = eventually("the first build", async || {
        Ok(stage.newest("follow").await?.filter(|build| known == 0 || id(build) == known))
    });
    let mut last = id(&first.await?);
    stage.succeeded(last).await?;
    let mut version = Value::Null;
    for round in 0..=n {
        stage.news.commit("news", &format!("{}\n", round + 1), "Add news").await?;
        let begin = Instant::now();
        let hook = "/teams/main/pipelines/bench/resources/news/check/webhook?webhook_token=hush";
        stage.api.post(hook, "").await?;
        let build = eventually("a build", async || {
            let newest = stage.newest("follow").await?;
            Ok(newest.filter(|build| id(build) > last && build["status"] != "pending"))
        })
        .await?;
        let whole = millis(begin.elapsed());
        last = id(&build);
        stage.succeeded(last).await?;
        let (own, newest) = check(stage, &version)?;
        version = newest;
        if round > 0 {
            total.push(whole);
            script.push(own);
            beyond.push(whole - own);
        }
    }
    let what = "webhook to build started beyond the script, p99";
    Ok(Figure::new("webhook", what, "ms", quantile(&beyond, 0.99))
        .bound(Bound::AtMost(150.0))
        .more("p50", quantile(&beyond, 0.5))
        .more("p90", quantile(&beyond, 0.9))
        .more("whole p50", quantile(&total, 0.5))
        .more("script p50", quantile(&script, 0.5)))
}

fn id(build: &Value) -> i64 {
    build["id"].as_i64().unwrap_or_default()
}

/// The same script on the host, without a container: its milliseconds and the newest version.
fn check(stage: &Stage, from: &Value) -> anyhow::Result<(f64, Value)> {
    let source = json!({"uri": stage.git.url("news.git"), "branch": "main"});
    let request = json!({"source": source, "version": from});
    let program = stage.dir.join("server/bin/jb-resources");
    let begin = Instant::now();
    let mut child = Command::new(&program)
        .args(["git", "check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    child.stdin.take().context("no stdin")?.write_all(request.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let took = millis(begin.elapsed());
    anyhow::ensure!(output.status.success(), "the check on the host failed: {}", output.status);
    let versions: Value = serde_json::from_slice(&output.stdout)?;
    let newest = versions.as_array().and_then(|versions| versions.last()).cloned();
    Ok((took, newest.unwrap_or(Value::Null)))
}
