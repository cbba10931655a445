//! Builds: `/builds` and making one-off ones.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::{Object, PipelineId, TeamId};
use jb_store::{BuildRecord, JobRecord, NextInputChoice};
use jb_wire::api::{
    BuildPreparation, BuildResources, CommentRequest, PublicBuildInput, PublicBuildOutput,
};

use super::{pages, present};
use crate::call::{Call, store_failure};
use crate::reply::{BAD_REQUEST, Failure, NOT_FOUND, Result, done, empty, json, ok};
use crate::{full_network, plans};

pub(super) async fn list_all(call: Call) -> Result<Response> {
    let visible = pages::visible(&call).await?;
    let (page, times) = pages::wanted(&call);
    let found = if times {
        call.store().all_builds_between(&visible, page).await
    } else {
        call.store().all_builds(&visible, page).await
    };
    let found = found.map_err(store_failure)?;
    Ok(pages::builds(&call, &found, "/api/v1/builds", &Object::new(), false))
}

pub(super) fn get(call: Call) -> Result<Response> {
    let build = call.build()?;
    let comments = build.job_public || call.may(&build.team_name);
    Ok(ok(&present::build(build, comments)))
}

pub(super) async fn plan(call: Call) -> Result<Response> {
    let build = call.build()?;
    let plan = call.store().build_plan(build.id).await.map_err(store_failure)?.ok_or(NOT_FOUND)?;
    Ok(ok(&plans::public(&plan).map_err(Failure::internal)?))
}

pub(super) async fn resources(call: Call) -> Result<Response> {
    let build = call.build()?;
    let inputs = call.store().build_inputs(build.id).await.map_err(store_failure)?;
    let outputs = call.store().build_outputs(build.id).await.map_err(store_failure)?;
    let pipeline_id = build.pipeline.as_ref().map_or(0, |pipeline| pipeline.id.0);
    Ok(ok(&BuildResources {
        inputs: inputs
            .into_iter()
            .map(|input| PublicBuildInput {
                name: input.name,
                version: input.version,
                pipeline_id,
                first_occurrence: input.first_occurrence,
            })
            .collect(),
        outputs: outputs
            .into_iter()
            .map(|output| PublicBuildOutput { name: output.name, version: output.version })
            .collect(),
    }))
}

pub(super) async fn abort(call: Call) -> Result<Response> {
    let build = call.build()?;
    call.store().abort_build(build.id, call.state.now()).await.map_err(store_failure)?;
    let force = call.query.has("force");
    call.state.engine().abort(build.id, force).await.map_err(Failure::internal)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn artifacts(call: Call) -> Result<Response> {
    let build = call.build()?;
    let artifacts = call.store().artifacts_of_build(build.id).await.map_err(store_failure)?;
    Ok(ok(&artifacts.iter().map(present::artifact).collect::<Vec<_>>()))
}

pub(super) async fn comment(mut call: Call) -> Result<Response> {
    let build = call.build()?.id;
    let CommentRequest { comment } = call.json().await?;
    call.store().set_build_comment(build, &comment).await.map_err(store_failure)?;
    Ok(done())
}

/// A one-off build of the plan that the client made.
pub(super) async fn create(mut call: Call) -> Result<Response> {
    let team = call.team().await?;
    start(&mut call, (team.id, &team.name), None).await
}

/// As [`create`], inside a pipeline.
pub(super) async fn create_in_pipeline(mut call: Call) -> Result<Response> {
    let pipeline = call.pipeline().await?;
    start(&mut call, (pipeline.team_id, &pipeline.team_name), Some(pipeline.id)).await
}

async fn start(
    call: &mut Call,
    (team, team_name): (TeamId, &str),
    pipeline: Option<PipelineId>,
) -> Result<Response> {
    let plan = plans::received(&call.bytes().await?).map_err(|_| BAD_REQUEST)?;
    full_network::check(call, team_name, "a one-off build", &full_network::of_stored(&plan)?)?;
    // Clients have never been told who made a one-off build.
    let build = call.store().create_started_build(team, pipeline, &plan, None, call.state.now());
    let build = build.await.map_err(Failure::internal)?;
    call.state.engine().nudge_build(build.id);
    Ok(json(StatusCode::CREATED, &present::build(&build, false)))
}

const UNKNOWN: &str = "unknown";
const BLOCKING: &str = "blocking";
const CLEAR: &str = "not_blocking";

/// What keeps a build from starting.
pub(super) async fn preparation(call: Call) -> Result<Response> {
    let build = call.build()?;
    let mut answer = BuildPreparation {
        build_id: build.id.0,
        paused_pipeline: CLEAR,
        paused_job: CLEAR,
        max_running_builds: CLEAR,
        inputs: BTreeMap::new(),
        inputs_satisfied: CLEAR,
        missing_input_reasons: BTreeMap::new(),
    };
    let Some(job) = build.job_id else { return Ok(ok(&answer)) };
    let job = call.store().job(job).await.map_err(store_failure)?.ok_or(NOT_FOUND)?;
    if build.status != jb_model::BuildStatus::Pending {
        answer.inputs = job.inputs.iter().map(|input| (input.name.clone(), CLEAR)).collect();
        return Ok(ok(&answer));
    }
    let blocks = |blocked: bool| if blocked { BLOCKING } else { CLEAR };
    answer.paused_pipeline = blocks(job.pipeline_paused);
    answer.paused_job = blocks(job.paused);
    let running = call.store().running_in_groups(job.id).await.map_err(store_failure)?;
    let limit = u64::from(job.max_in_flight);
    answer.max_running_builds = blocks(limit > 0 && running >= limit);
    inputs(&call, build, &job, &mut answer).await?;
    Ok(ok(&answer))
}

async fn inputs(
    call: &Call,
    build: &BuildRecord,
    job: &JobRecord,
    answer: &mut BuildPreparation,
) -> Result<()> {
    let (next, determined) = call.store().next_inputs(job.id).await.map_err(store_failure)?;
    for input in &job.inputs {
        let found = next.iter().find(|next| next.name == input.name);
        let (status, reason) = match found.map(|found| &found.choice) {
            Some(NextInputChoice::Version { .. }) => (CLEAR, None),
            Some(NextInputChoice::Unresolved { reason }) => (BLOCKING, Some(reason.as_str())),
            None => (UNKNOWN, None),
        };
        answer.inputs.insert(input.name.clone(), status);
        if let Some(reason) = reason {
            answer.missing_input_reasons.insert(input.name.clone(), reason.to_owned());
        }
    }
    let rerun_ready = build.rerun_of.is_some();
    answer.inputs_satisfied =
        if determined || rerun_ready || job.inputs.is_empty() { CLEAR } else { BLOCKING };
    Ok(())
}
