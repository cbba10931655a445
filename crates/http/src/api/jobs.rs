//! Jobs: `/jobs` and `/teams/.../pipelines/.../jobs`.

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::{Object, Value};
use jb_store::{BuildBrief, JobRecord, NextInputChoice, ResourceKind};
use jb_wire::api::BuildInput;
use serde::Serialize;

use super::{pages, present};
use crate::call::{Call, store_failure};
use crate::reply::{Failure, NOT_FOUND, Result, done, ok};

pub(super) async fn list_all(call: Call) -> Result<Response> {
    let (http, action) = (&call.state.settings().metrics.http, call.path.route.action.name());
    // The answer can be large: an operator may bound how many are made at once.
    let _permit = match call.state.all_jobs() {
        None => None,
        Some(limit) => Some(limit.try_acquire().map_err(|_| {
            http.refused(action);
            Failure::Status(if call.state.settings().list_all_jobs_limit == Some(0) {
                StatusCode::NOT_IMPLEMENTED
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            })
        })?),
    };
    let _under_way = http.under_way(action);
    let visible = pages::visible(&call).await?;
    let jobs = call.store().all_jobs(&visible).await.map_err(store_failure)?;
    Ok(ok(&jobs.iter().map(present::job_summary).collect::<Vec<_>>()))
}

pub(super) async fn list(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    let jobs = call.store().pipeline_jobs(pipeline).await.map_err(store_failure)?;
    Ok(ok(&jobs.iter().map(present::job_summary).collect::<Vec<_>>()))
}

/// Comments are for those with a role, and for everyone when the job is public.
fn comments(call: &Call, job: &JobRecord) -> bool {
    job.public || call.may(&job.pipeline.team_name)
}

pub(super) async fn get(call: Call) -> Result<Response> {
    let job = call.job().await?;
    let next = full(&call, &job, job.next_build.as_ref()).await?;
    let finished = full(&call, &job, job.finished_build.as_ref()).await?;
    Ok(ok(&present::job(&job, next, finished)))
}

async fn full(
    call: &Call,
    job: &JobRecord,
    brief: Option<&BuildBrief>,
) -> Result<Option<jb_wire::api::Build>> {
    let Some(brief) = brief else { return Ok(None) };
    let build = call.store().build(brief.id).await.map_err(store_failure)?;
    Ok(build.map(|build| present::build(&build, comments(call, job))))
}

pub(super) async fn builds(call: Call) -> Result<Response> {
    let job = call.job().await?;
    let (page, times) = pages::wanted(&call);
    let found = if times {
        call.store().job_builds_between(job.id, page).await
    } else {
        call.store().job_builds(job.id, page).await
    };
    let pipeline = &job.pipeline;
    let path = format!(
        "/api/v1/teams/{}/pipelines/{}/jobs/{}/builds",
        pipeline.team_name, pipeline.name, job.name
    );
    let comments = comments(&call, &job);
    let found = found.map_err(store_failure)?;
    Ok(pages::builds(&call, &found, &path, &pipeline.instance_vars, comments))
}

pub(super) async fn build(call: Call) -> Result<Response> {
    let job = call.job().await?;
    let build = call.store().build_by_name(job.id, call.param("build_name")).await;
    let build = build.map_err(store_failure)?.ok_or(NOT_FOUND)?;
    Ok(ok(&present::build(&build, comments(&call, &job))))
}

pub(super) async fn trigger(call: Call) -> Result<Response> {
    let job = call.job().await?;
    if job.disable_manual_trigger {
        return Err(Failure::Status(StatusCode::CONFLICT));
    }
    let by = Some(call.caller.name()).filter(|name| !name.is_empty());
    let build = call.store().create_job_build(job.id, by, call.state.now()).await;
    let build = build.map_err(Failure::internal)?;
    call.state.engine().nudge_build(build.id);
    Ok(ok(&present::build(&build, false)))
}

pub(super) async fn rerun(call: Call) -> Result<Response> {
    let job = call.job().await?;
    if job.disable_reruns {
        return Err(Failure::Status(StatusCode::CONFLICT));
    }
    let build = call.store().build_by_name(job.id, call.param("build_name")).await;
    let build = build.map_err(store_failure)?.ok_or(NOT_FOUND)?;
    // A build that never started has no inputs to use again.
    if !build.has_plan {
        return Err(Failure::internal("the build to rerun has no inputs yet"));
    }
    let by = Some(call.caller.name()).filter(|name| !name.is_empty());
    let rerun = call.store().create_rerun(build.id, by, call.state.now()).await;
    let rerun = rerun.map_err(Failure::internal)?;
    call.state.engine().nudge_build(rerun.id);
    Ok(ok(&present::build(&rerun, false)))
}

/// The inputs that the job's next build would have, with all that is needed to fetch them.
pub(super) async fn inputs(call: Call) -> Result<Response> {
    let job = call.job().await?;
    let (next, determined) = call.store().next_inputs(job.id).await.map_err(store_failure)?;
    if !determined {
        return Err(NOT_FOUND);
    }
    let config = call.store().job_config(job.id).await.map_err(store_failure)?;
    let resources = call
        .store()
        .pipeline_resources(job.pipeline.id, ResourceKind::Resource)
        .await
        .map_err(store_failure)?;
    let mut inputs = Vec::with_capacity(next.len());
    for input in next {
        let NextInputChoice::Version { version, .. } = input.choice else { return Err(NOT_FOUND) };
        let (_, version) =
            call.store().version(version).await.map_err(store_failure)?.ok_or(NOT_FOUND)?;
        let resource = resources
            .iter()
            .find(|resource| Some(resource.id) == input.resource)
            .ok_or_else(|| Failure::internal("an input's resource is gone"))?;
        let step = config.as_ref().and_then(|config| get_step(config, &input.name));
        let part = |key: &str| step.and_then(|step| step.get(key)).cloned();
        let source = resource.config.get("source").and_then(Value::as_object);
        inputs.push(BuildInput {
            name: input.name,
            resource: resource.name.clone(),
            kind: resource.type_name.clone(),
            source: source.cloned().unwrap_or_default(),
            params: part("params").and_then(|p| p.as_object().cloned()).unwrap_or_default(),
            version,
            tags: part("tags").and_then(|t| serde_json::from_value(t).ok()).unwrap_or_default(),
        });
    }
    Ok(ok(&inputs))
}

/// The `get` step of that name, anywhere in a job's configuration.
fn get_step<'a>(config: &'a Value, name: &str) -> Option<&'a Object> {
    match config {
        Value::Object(object) => {
            if object.get("get").and_then(Value::as_str) == Some(name) {
                return Some(object);
            }
            // Free-form data may look like a step, but is none.
            let data = ["source", "params", "get_params", "vars", "config", "instance_vars"];
            object
                .iter()
                .filter(|(key, _)| !data.contains(&key.as_str()))
                .find_map(|(_, value)| get_step(value, name))
        }
        Value::Array(list) => list.iter().find_map(|value| get_step(value, name)),
        _ => None,
    }
}

pub(super) async fn pause(call: Call) -> Result<Response> {
    let job = call.job().await?;
    let (by, now) = (call.caller.name(), call.state.now());
    call.store().pause_job(job.id, by, now).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn unpause(call: Call) -> Result<Response> {
    let job = call.job().await?;
    call.store().unpause_job(job.id, call.state.now()).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn schedule(call: Call) -> Result<Response> {
    let job = call.job().await?;
    call.store().request_schedule(job.id, call.state.now()).await.map_err(store_failure)?;
    Ok(done())
}

#[derive(Serialize)]
pub(super) struct CachesRemoved {
    pub(super) caches_removed: u64,
}

pub(super) async fn clear_task_cache(call: Call) -> Result<Response> {
    let name = call.param("job_name");
    let job = match call.job().await {
        Err(Failure::Status(StatusCode::NOT_FOUND)) => {
            return Err(Failure::Detailed(
                StatusCode::NOT_FOUND,
                "Job Not Found Error".to_owned(),
                format!("Job with name '{name}' not found."),
            ));
        }
        job => job?,
    };
    let path = Some(call.query.get("cache_path")).filter(|path| !path.is_empty());
    match call.store().clear_task_caches(job.id, call.param("step_name"), path).await {
        Ok(caches_removed) => Ok(ok(&CachesRemoved { caches_removed })),
        Err(error) => Err(Failure::Detailed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Clear Task Cache Error".to_owned(),
            error.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_found_at_any_depth_but_not_in_data() {
        let config = json!({
            "plan": [
                {"task": "t", "params": {"get": "src"}},
                {"in_parallel": {"steps": [{"try": {"get": "src", "params": {"depth": 1}}}]}},
            ],
        });
        assert_eq!(get_step(&config, "src").unwrap()["params"], json!({"depth": 1}));
        assert!(get_step(&config, "other").is_none());
    }
}
