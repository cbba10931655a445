//! Pipelines: `/pipelines` and `/teams/.../pipelines`.

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::Object;
use jb_store::{Error, PipelineRecord};
use jb_wire::api::{NewName, SaveConfigResponse};

use super::{pages, present};
use crate::call::{Call, store_failure};
use crate::identifier;
use crate::reply::{Failure, NOT_FOUND, Result, done, empty, ok};

pub(super) async fn list_all(call: Call) -> Result<Response> {
    let visible = pages::visible(&call).await?;
    present_all(call.store().pipelines(&visible).await)
}

pub(super) async fn list(call: Call) -> Result<Response> {
    let team = call.team().await?;
    let public_only = !call.may(&team.name);
    present_all(call.store().team_pipelines(team.id, public_only).await)
}

fn present_all(found: jb_store::Result<Vec<PipelineRecord>>) -> Result<Response> {
    let pipelines = found.map_err(store_failure)?;
    Ok(ok(&pipelines.iter().map(present::pipeline).collect::<Vec<_>>()))
}

pub(super) async fn get(call: Call) -> Result<Response> {
    Ok(ok(&present::pipeline(&call.pipeline().await?)))
}

pub(super) async fn delete(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    call.store().destroy_pipeline(pipeline).await.map_err(store_failure)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn order(mut call: Call) -> Result<Response> {
    let team = call.team().await?;
    let names: Vec<String> = call.json().await?;
    match call.store().order_pipelines(team.id, &names).await {
        Ok(()) => Ok(done()),
        Err(Error::NotFound { name, .. }) => Err(unknown(&name)),
        Err(error) => Err(Failure::internal(error)),
    }
}

pub(super) async fn order_instances(mut call: Call) -> Result<Response> {
    let team = call.team().await?;
    let name = call.param("pipeline_name").to_owned();
    let instances: Vec<Option<Object>> = call.json().await?;
    let instances: Vec<Object> = instances.into_iter().map(Option::unwrap_or_default).collect();
    match call.store().order_pipeline_instances(team.id, &name, &instances).await {
        Ok(()) => Ok(done()),
        Err(Error::NotFound { name, .. }) => Err(unknown(&name)),
        Err(error) => Err(Failure::internal(error)),
    }
}

fn unknown(name: &str) -> Failure {
    Failure::text(StatusCode::BAD_REQUEST, format!("pipeline '{name}' not found\n"))
}

pub(super) async fn pause(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    let (by, now) = (call.caller.name(), call.state.now());
    call.store().pause_pipeline(pipeline, by, now).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn unpause(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    call.store().unpause_pipeline(pipeline, call.state.now()).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn archive(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    call.store().archive_pipeline(pipeline, call.state.now()).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn set_public(call: Call, public: bool) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    call.store().set_pipeline_public(pipeline, public).await.map_err(store_failure)?;
    Ok(done())
}

/// Renames a pipeline with all its instances.
pub(super) async fn rename(mut call: Call) -> Result<Response> {
    let team = call.team().await?;
    let from = call.param("pipeline_name").to_owned();
    let NewName { name } = call.json().await?;
    let warnings = match identifier::check(&name, "pipeline") {
        Ok(warning) => warning.into_iter().collect(),
        Err(error) => return Err(Failure::Errors(vec![error])),
    };
    match call.store().rename_pipeline(team.id, &from, &name).await {
        Ok(()) => {}
        Err(Error::NotFound { .. }) => return Err(NOT_FOUND),
        Err(error) => return Err(Failure::internal(error)),
    }
    Ok(ok(&SaveConfigResponse { warnings, ..SaveConfigResponse::default() }))
}

pub(super) async fn builds(call: Call) -> Result<Response> {
    let pipeline = call.pipeline().await?;
    let (page, times) = pages::wanted(&call);
    let found = if times {
        call.store().pipeline_builds_between(pipeline.id, page).await
    } else {
        call.store().pipeline_builds(pipeline.id, page).await
    };
    let path = format!("/api/v1/teams/{}/pipelines/{}/builds", pipeline.team_name, pipeline.name);
    Ok(pages::builds(&call, &found.map_err(store_failure)?, &path, &pipeline.instance_vars, false))
}
