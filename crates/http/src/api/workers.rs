//! Workers. They are what the engine runs things on; none registers from outside.

use axum::http::StatusCode;
use axum::response::Response;
use jb_wire::api::{Worker, WorkerResourceType};
use serde::Serialize;

use super::present::seconds;
use crate::call::Call;
use crate::engine::{Engine, EngineError, WorkerInfo};
use crate::reply::{Failure, NOT_FOUND, Result, TEXT, done, json, ok, respond};
use crate::settings::WORKER_VERSION;

/// Those of this server, and others of which something is recorded.
pub(super) async fn all(engine: &dyn Engine) -> Result<Vec<WorkerInfo>> {
    let mut workers = engine.workers().await.map_err(Failure::internal)?;
    workers.extend(engine.absent_workers().await.map_err(Failure::internal)?);
    Ok(workers)
}

pub(super) async fn list(call: Call) -> Result<Response> {
    let mut workers = all(call.state.engine()).await?;
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
    stderr: String,
}

/// Only a worker that is not in service is forgotten.
pub(super) async fn prune(call: Call) -> Result<Response> {
    match call.state.engine().forget_worker(call.param("worker_name")).await {
        Ok(()) => Ok(done()),
        Err(EngineError::NotFound(_)) => Err(NOT_FOUND),
        Err(EngineError::Refused(stderr)) => {
            Ok(json(StatusCode::BAD_REQUEST, &PruneRefused { stderr }))
        }
        Err(error @ EngineError::Failed(_)) => Err(Failure::internal(error)),
    }
}

pub(super) fn no_remote_workers() -> Response {
    let text = "this server runs containers by itself and takes no remote workers\n";
    respond(StatusCode::NOT_IMPLEMENTED, TEXT, text)
}

pub(super) fn nothing_to_destroy() -> Response {
    ok(&[(); 0])
}
