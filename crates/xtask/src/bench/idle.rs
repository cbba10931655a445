//! What a server costs that has nothing to do.

use std::path::Path;
use std::time::Duration;

use super::figures::{Bound, Figure, mib, millis};
use super::stage::{USER, serve};
use crate::api::Api;
use crate::server::{Server, memory};

const PIPELINES: usize = 100;
/// Left alone before it is measured, so that what follows from its start is over.
const SETTLE: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(20);
const STARTS: usize = 5;

pub(super) async fn with_pipelines(
    binary: &Path,
    dir: &Path,
    port: u16,
) -> anyhow::Result<[Figure; 3]> {
    let server = serve(binary, dir, port).await?;
    let fresh = millis(server.ready_after);
    let api = Api::login(&server.url, USER, USER).await?;
    tokio::time::sleep(SETTLE).await;
    let empty = memory(server.id())?;
    for n in 0..PIPELINES {
        let name = format!("pipeline-{n}");
        api.set_pipeline(&name, &pipeline(n)).await?;
        api.put(&format!("/teams/main/pipelines/{name}/unpause")).await?;
    }
    drop(server);
    let mut ready = Vec::new();
    for _ in 1..STARTS {
        let server = serve(binary, dir, port).await?;
        ready.push(millis(server.ready_after));
    }
    let server = serve(binary, dir, port).await?;
    ready.push(millis(server.ready_after));
    // Someone looks at it once, so that what is made when first used is there.
    let api = Api::login(&server.url, USER, USER).await?;
    api.get("/teams/main/pipelines").await?;
    tokio::time::sleep(SETTLE).await;
    let cpu = processor_share(&server).await?;
    let full = memory(server.id())?;
    Ok([
        Figure::new("idle", "resident with 100 pipelines", "MiB", mib(full.resident))
            .floor("without pipelines", Some(mib(empty.resident)))
            .bound(Bound::AtMost(40.0))
            .more("anonymous", mib(full.anonymous)),
        Figure::new("idle", "processor with 100 pipelines", "%", cpu).bound(Bound::AtMost(1.0)),
        Figure::new("idle", "ready after start, p50", "ms", super::figures::quantile(&ready, 0.5))
            .floor("new and empty", Some(fresh))
            .bound(Bound::AtMost(300.0))
            .more("worst", super::figures::quantile(&ready, 1.0)),
    ])
}

/// Per cent of one core.
async fn processor_share(server: &Server) -> anyhow::Result<f64> {
    let before = crate::server::processor_time(server.id())?;
    tokio::time::sleep(WATCHED).await;
    let after = crate::server::processor_time(server.id())?;
    Ok((after.saturating_sub(before)).as_secs_f64() / WATCHED.as_secs_f64() * 100.0)
}

fn pipeline(n: usize) -> String {
    format!(
        "\
resources:
- name: source
  type: mock
  check_every: never
  source: {{force_version: v{n}}}
jobs:
- name: build
  plan:
  - {{get: source, trigger: true}}
  - task: compile
    config: {{platform: linux, inputs: [{{name: source}}], run: {{path: make, args: [all]}}}}
- name: release
  plan:
  - {{get: source, passed: [build]}}
  - task: publish
    config: {{platform: linux, inputs: [{{name: source}}], run: {{path: make, args: [release]}}}}
"
    )
}
