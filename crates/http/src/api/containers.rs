//! Containers and volumes.

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::{BuildId, ContainerHandle, JobId, PipelineId};
use jb_store::{ContainerFilter, ContainerRecord, ContainerState};

use super::present;
use crate::call::{Call, store_failure};
use crate::instance_vars;
use crate::reply::{Failure, NOT_FOUND, Result, ok};

/// The most containers or volumes that one answer lists.
const LIMIT: u32 = 10_000;
const KINDS: [&str; 7] = ["check", "get", "put", "task", "run", "agent", "gateway"];

pub(super) async fn list(call: Call) -> Result<Response> {
    let team = call.team().await?;
    let Some(filter) = filter(&call, team.id).await? else { return Ok(ok(&[(); 0])) };
    let mut containers = call.store().containers(&filter, LIMIT).await.map_err(store_failure)?;
    containers.retain(|container| {
        matches!(container.state, ContainerState::Created | ContainerState::Failed)
    });
    containers.reverse();
    Ok(ok(&containers.iter().map(present::container).collect::<Vec<_>>()))
}

/// What a query asks for; `None` when it names a pipeline that does not exist.
async fn filter(call: &Call, team: jb_model::TeamId) -> Result<Option<ContainerFilter>> {
    let query = &call.query;
    let text = |key: &str| Some(query.get(key)).filter(|v| !v.is_empty()).map(str::to_owned);
    let number = |key: &str| match query.get(key) {
        "" => Ok(None),
        text => text.parse::<i64>().map(Some).map_err(|error| {
            let line = format!("non-numeric '{key}' param ({text}): {error}\n");
            Failure::text(StatusCode::BAD_REQUEST, line)
        }),
    };
    let vars = instance_vars::parse(query)
        .map_err(|error| Failure::text(StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let kind = text("type");
    if let Some(kind) = &kind
        && !KINDS.contains(&kind.as_str())
    {
        let line = format!("Unrecognized container type: {kind}\n");
        return Err(Failure::text(StatusCode::BAD_REQUEST, line));
    }
    let mut filter = ContainerFilter {
        team: Some(team),
        pipeline: number("pipeline_id")?.map(PipelineId),
        job: number("job_id")?.map(JobId),
        job_name: text("job_name"),
        build: number("build_id")?.map(BuildId),
        build_name: text("build_name"),
        resource_name: text("resource_name").filter(|_| kind.as_deref() == Some("check")),
        step_name: text("step_name"),
        attempt: text("attempt"),
        kind,
    };
    if let Some(name) = text("pipeline_name") {
        let team = call.param("team_name");
        let found = call.store().find_pipeline(team, &name, &vars).await.map_err(store_failure)?;
        let Some(pipeline) = found else { return Ok(None) };
        if filter.pipeline.is_some_and(|id| id != pipeline.id) {
            return Ok(None);
        }
        filter.pipeline = Some(pipeline.id);
    }
    Ok(Some(filter))
}

/// A container of the team in the path; those of other teams do not exist here.
pub(super) async fn find(call: &Call) -> Result<ContainerRecord> {
    let team = call.team().await?;
    let handle = ContainerHandle::new(call.param("id"));
    let container = call.store().container(&handle).await.map_err(store_failure)?;
    container.filter(|container| container.team_id == team.id).ok_or(NOT_FOUND)
}

pub(super) async fn get(call: Call) -> Result<Response> {
    Ok(ok(&present::container(&find(&call).await?)))
}

pub(super) async fn volumes(call: Call) -> Result<Response> {
    let team = call.team().await?;
    let volumes = call.store().team_volumes(team.id, LIMIT).await.map_err(store_failure)?;
    Ok(ok(&volumes.iter().map(present::volume).collect::<Vec<_>>()))
}
