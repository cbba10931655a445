//! The configuration of a pipeline.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::Response;
use jb_model::PipelineConfig;
use jb_pipeline::check_pipeline;
use jb_store::{Error, SaveOutcome, SavePipeline};
use jb_wire::api::{ConfigResponse, SaveConfigResponse, Warning};

use crate::call::{Call, store_failure};
use crate::full_network;
use crate::identifier;
use crate::instance_vars;
use crate::reply::{Failure, NOT_FOUND, Result, json, ok, put};

const X_CONCOURSE_CONFIG_VERSION: HeaderName =
    HeaderName::from_static("x-concourse-config-version");

pub(super) async fn get(call: Call) -> Result<Response> {
    instance_vars::parse(&call.query).map_err(refused)?;
    let pipeline = call.pipeline().await?;
    let config = call.store().pipeline_config(pipeline.id).await.map_err(store_failure)?;
    let (config, version) = config.ok_or(NOT_FOUND)?;
    let mut response = ok(&ConfigResponse { config });
    put(response.headers_mut(), X_CONCOURSE_CONFIG_VERSION, &version.to_string());
    Ok(response)
}

fn refused(error: String) -> Failure {
    Failure::Errors(vec![error])
}

pub(super) async fn save(mut call: Call) -> Result<Response> {
    let from_version = from_version(&call)?;
    let kind = call.parts.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    if !matches!(kind, Some(b"application/json" | b"application/x-yaml")) {
        return Err(Failure::Status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let body = call.bytes().await?;
    let text = std::str::from_utf8(&body)
        .map_err(|error| refused(format!("malformed config: {error}")))?;
    let checked = check_pipeline(text);
    if !checked.is_valid() {
        return Err(Failure::Errors(checked.errors()));
    }
    let mut warnings: Vec<Warning> = checked
        .warnings()
        .into_iter()
        .map(|warning| Warning { kind: warning.kind.to_owned(), message: warning.message })
        .collect();
    for (what, param) in [("pipeline", "pipeline_name"), ("team", "team_name")] {
        warnings.extend(identifier::check(call.param(param), what).map_err(refused)?);
    }
    let instance_vars = instance_vars::parse(&call.query).map_err(refused)?;
    if call.query.has("check_creds") {
        check_credentials(&call, &checked.config)?;
    }
    let team = call.team().await?;
    let open = jb_pipeline::full_network::of_pipeline(&checked.config);
    full_network::check(&call, &team.name, call.param("pipeline_name"), &open)?;
    let save = SavePipeline {
        team: team.id,
        name: call.param("pipeline_name"),
        instance_vars: &instance_vars,
        config: &checked.normalised,
        from_version: Some(from_version),
        initially_paused: true,
        set_by: None,
    };
    let status = match call.store().save_pipeline(save, call.state.now()).await {
        Ok(SaveOutcome::Created { .. }) => StatusCode::CREATED,
        Ok(SaveOutcome::Updated { .. } | SaveOutcome::SetByNewerBuild { .. }) => StatusCode::OK,
        // Clients know a conflict by this text, not by its status.
        Err(error @ Error::ConfigVersion) => {
            let text = format!("failed to save config: {error}");
            return Err(Failure::text(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        Err(error) => {
            tracing::error!(%error, "cannot save a configuration");
            let text = format!("failed to save config: {error}");
            return Err(Failure::text(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
    };
    Ok(json(status, &SaveConfigResponse { errors: Vec::new(), warnings }))
}

/// Refuses a configuration that names secrets which are not there.
fn check_credentials(call: &Call, config: &PipelineConfig) -> Result<()> {
    let errors = call.state.engine().check_credentials(config);
    let occurred = match errors.len() {
        0 => return Ok(()),
        1 => "1 error occurred".to_owned(),
        many => format!("{many} errors occurred"),
    };
    let list: Vec<String> = errors.iter().map(|error| format!("\t* {error}\n")).collect();
    let list = list.concat();
    Err(refused(format!("credential validation failed\n\n{occurred}:\n{list}\n")))
}

/// The version that the client has read; 0 for a pipeline that it believes to be new.
fn from_version(call: &Call) -> Result<i64> {
    let Some(header) = call.parts.headers.get(X_CONCOURSE_CONFIG_VERSION) else { return Ok(0) };
    let text = header.to_str().unwrap_or("?");
    if text.is_empty() {
        return Ok(0);
    }
    text.trim().parse().map_err(|error| refused(format!("config version is malformed: {error}")))
}
