//! `cc.xml`: jobs in the form that build monitors read.

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::BuildStatus;
use jb_pipeline::instance_vars::pipeline_text;
use jb_store::JobRecord;

use crate::call::{Call, store_failure};
use crate::html::escape;
use crate::instance_vars;
use crate::query::encode;
use crate::reply::{Result, respond};

pub(super) async fn get(call: Call) -> Result<Response> {
    let team = call.team().await?;
    let public_only = !call.may(&team.name);
    let jobs = call.store().team_jobs(team.id, public_only).await.map_err(store_failure)?;
    let external_url = &call.state.settings().external_url;
    let projects: String = jobs.iter().filter_map(|job| project(job, external_url)).collect();
    let body = format!("<Projects>{projects}</Projects>");
    Ok(respond(StatusCode::OK, "application/xml", body))
}

/// A job that has ended builds.
fn project(job: &JobRecord, external_url: &str) -> Option<String> {
    let build = job.finished_build.as_ref()?;
    let status = match build.status {
        BuildStatus::Succeeded => "Success",
        BuildStatus::Failed => "Failure",
        _ => "Exception",
    };
    let activity = if job.next_build.is_some() { "Building" } else { "Sleeping" };
    let ended = build.end_time.unwrap_or_default().unix_seconds();
    let time = jiff::Timestamp::from_second(ended).unwrap_or_default();
    let pipeline = &job.pipeline;
    let vars = instance_vars::render(&pipeline.instance_vars);
    let query = if vars.is_empty() { String::new() } else { format!("?{vars}") };
    let url = format!(
        "{external_url}/teams/{}/pipelines/{}/jobs/{}{query}",
        encode(&pipeline.team_name),
        encode(&pipeline.name),
        encode(&job.name),
    );
    let vars = Some(&pipeline.instance_vars).filter(|vars| !vars.is_empty());
    let name = pipeline_text(&pipeline.name, vars);
    let attributes = [
        ("activity", activity),
        ("lastBuildLabel", build.name.as_str()),
        ("lastBuildStatus", status),
        ("lastBuildTime", &time.to_string()),
        ("name", &format!("{name}/{}", job.name)),
        ("webUrl", &url),
    ]
    .map(|(key, value)| format!(" {key}=\"{}\"", escape(value)));
    Some(format!("<Project{}></Project>", attributes.concat()))
}
