//! Builds of the pipeline `bench`, triggered and watched as users do.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::api::Api;

/// Longest wait for any one build to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Triggers a job; its build.
pub(super) async fn trigger(api: &Api, job: &str) -> anyhow::Result<i64> {
    let path = format!("/teams/main/pipelines/bench/jobs/{job}/builds");
    id(&api.post(&path, "").await?)
}

/// Asks for a check; its build.
pub(super) async fn check(api: &Api, resource: &str) -> anyhow::Result<i64> {
    let path = format!("/teams/main/pipelines/bench/resources/{resource}/check");
    id(&api.post(&path, "{}").await?)
}

fn id(build: &Value) -> anyhow::Result<i64> {
    build["id"].as_i64().with_context(|| format!("no build in {build}"))
}

/// Waits for a build to end well, and shows every event as it comes; its log.
pub(super) async fn succeeded(
    api: &Api,
    build: i64,
    patience: Duration,
    mut show: impl FnMut(&str),
) -> anyhow::Result<String> {
    let mut log = String::new();
    let mut status = None;
    let mut problem = String::new();
    let all = api.events(build, |event| {
        let data = &event["data"];
        let kind = event["event"].as_str().unwrap_or_default();
        show(kind);
        match kind {
            "log" => log.push_str(data["payload"].as_str().unwrap_or_default()),
            "error" => problem.push_str(data["message"].as_str().unwrap_or_default()),
            "status" => status = data["status"].as_str().map(str::to_owned),
            _ => {}
        }
        matches!(status.as_deref(), None | Some("started"))
    });
    tokio::time::timeout(patience, all)
        .await
        .with_context(|| format!("build {build} does not end"))??;
    match status.as_deref() {
        Some("succeeded") => Ok(log),
        other => bail!("build {build} ended as {other:?}: {problem}\n{log}"),
    }
}
