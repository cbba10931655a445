//! What agents used of models, by step, build, job and team.

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::Timestamp;
use jb_store::{AgentUsage, Period};
use jb_wire::api;

use crate::call::{Call, store_failure};
use crate::reply::{Failure, Result, ok};

/// Most builds or jobs of one answer; its total has all.
const LIST_MAX: u32 = 1_000;

pub(super) async fn of_build(call: Call) -> Result<Response> {
    let build = call.build()?.id;
    let found = call.store().build_agent_usage(build).await.map_err(store_failure)?;
    let mut total = api::AgentUsage::default();
    for step in &found {
        add(&mut total, step.usage);
    }
    let step = |step: jb_store::StepUsage| api::StepAgentUsage {
        plan_id: step.plan.0,
        name: step.name,
        model: step.model,
        usage: present(step.usage),
    };
    let steps = found.into_iter().map(step).collect();
    Ok(ok(&api::BuildAgentUsage { total, steps }))
}

pub(super) async fn of_job(call: Call) -> Result<Response> {
    let (job, period) = (call.job().await?.id, period(&call)?);
    let found = call.store().job_agent_usage(job, period, LIST_MAX).await;
    let (total, builds) = found.map_err(store_failure)?;
    let build = |build: jb_store::BuildUsage| api::OneBuildAgentUsage {
        build_id: build.build.0,
        build_name: build.name,
        usage: present(build.usage),
    };
    let builds = builds.into_iter().map(build).collect();
    Ok(ok(&api::JobAgentUsage { total: present(total), builds }))
}

pub(super) async fn of_team(call: Call) -> Result<Response> {
    let (team, period) = (call.team().await?.id, period(&call)?);
    let found = call.store().team_agent_usage(team, period, LIST_MAX).await;
    let (total, jobs) = found.map_err(store_failure)?;
    let job = |job: jb_store::JobUsage| {
        let usage = present(job.usage);
        let Some(pipeline) = job.pipeline else {
            return api::OneJobAgentUsage { usage, ..Default::default() };
        };
        api::OneJobAgentUsage {
            pipeline_id: Some(pipeline.id.0),
            pipeline_name: Some(pipeline.name),
            pipeline_instance_vars: pipeline.instance_vars,
            job_name: job.job_name,
            usage,
        }
    };
    let jobs = jobs.into_iter().map(job).collect();
    Ok(ok(&api::TeamAgentUsage { total: present(total), jobs }))
}

/// The query's `since` and `until`, in seconds since the epoch.
fn period(call: &Call) -> Result<Period> {
    let at = |key: &'static str| match call.query.get(key) {
        "" => Ok(None),
        text => text.parse().map(Timestamp::from_unix_seconds).map(Some).map_err(|_| {
            let detail = format!("`{key}` is `{text}`, and no number of seconds since the epoch");
            Failure::Problem(StatusCode::BAD_REQUEST, "no time", detail)
        }),
    };
    Ok(Period { since: at("since")?, until: at("until")? })
}

fn present(usage: AgentUsage) -> api::AgentUsage {
    api::AgentUsage {
        turns: usage.turns,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        cost_micros: usage.cost_micros,
    }
}

fn add(total: &mut api::AgentUsage, usage: AgentUsage) {
    total.turns += usage.turns;
    total.input_tokens += usage.input_tokens;
    total.output_tokens += usage.output_tokens;
    total.cache_read_tokens += usage.cache_read_tokens;
    total.cache_write_tokens += usage.cache_write_tokens;
    total.cost_micros += usage.cost_micros;
}
