//! Workers. They are what the engine runs things on; none registers from outside.

use axum::http::StatusCode;
use axum::response::Response;
use jb_wire::api::{Worker, WorkerResourceType};
use serde::Serialize;

use super::present::seconds;
use crate::call::Call;
use crate::engine::WorkerInfo;
use crate::reply::{Failure, NOT_FOUND, Result, TEXT, json, ok, respond};
use crate::settings::WORKER_VERSION;

pub(super) async fn list(call: Call) -> Result<Response> {
    let mut workers = call.state.engine().workers().await.map_err(Failure::internal)?;
    workers.retain(|worker| worker.team.is_empty() || call.may(&worker.team));
    Ok(ok(&workers.into_iter().map(present).collect::<Vec<_>>()))
}

fn present(worker: WorkerInfo) -> Worker {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Worker {
        addr: worker.address,
        baggageclaim_url: String::new(),
        active_containers: count(worker.active_containers),
        active_volumes: count(worker.active_volumes),
        active_tasks: count(worker.active_tasks),
        max_active_tasks: 0,
        resource_types: worker
            .base_types
            .into_iter()
            .map(|base| WorkerResourceType {
                image: base.name.clone(),
                kind: base.name,
                version: base.version,
                privileged: base.privileged,
                unique_version_history: base.unique_version_history,
            })
            .collect(),
        platform: worker.platform,
        tags: Some(worker.tags).filter(|tags| !tags.is_empty()),
        team: worker.team,
        name: worker.name,
        version: WORKER_VERSION.to_owned(),
        start_time: seconds(worker.started_at),
        ephemeral: false,
        state: worker.state,
    }
}

#[derive(Serialize)]
struct PruneRefused {
    stderr: &'static str,
}

/// A worker that runs cannot be pruned, and there are no others.
pub(super) async fn prune(call: Call) -> Result<Response> {
    let workers = call.state.engine().workers().await.map_err(Failure::internal)?;
    let name = call.param("worker_name");
    if !workers.iter().any(|worker| worker.name == name) {
        return Err(NOT_FOUND);
    }
    let refused = PruneRefused { stderr: "cannot prune running worker" };
    Ok(json(StatusCode::BAD_REQUEST, &refused))
}

pub(super) fn no_remote_workers() -> Response {
    let text = "this server runs containers by itself and takes no remote workers\n";
    respond(StatusCode::NOT_IMPLEMENTED, TEXT, text)
}

pub(super) fn nothing_to_destroy() -> Response {
    ok(&[(); 0])
}
