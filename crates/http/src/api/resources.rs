//! Resources, resource types and prototypes.

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::Value;
use jb_store::{ResourceKind, ResourceRecord};
use jb_wire::api::{CheckRequest, PinCommentRequest, Shared, SharedBy, VersionRequest};

use super::jobs::CachesRemoved;
use super::{pages, present};
use crate::call::{Call, store_failure};
use crate::engine::{CheckOptions, CheckTarget, EngineError};
use crate::plans;
use crate::reply::{BAD_REQUEST, Failure, NOT_FOUND, Result, TEXT, done, json_as, ok};

pub(super) async fn list_all(call: Call) -> Result<Response> {
    let visible = pages::visible(&call).await?;
    let resources = call.store().all_resources(&visible).await.map_err(store_failure)?;
    Ok(ok(&resources.iter().map(present::resource).collect::<Vec<_>>()))
}

pub(super) async fn list(call: Call) -> Result<Response> {
    let mut resources = of_kind(&call, ResourceKind::Resource).await?;
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    let mut shown = Vec::with_capacity(resources.len());
    for resource in &resources {
        shown.push(with_check(&call, resource).await?);
    }
    Ok(ok(&shown))
}

/// A resource with the plan of its last check, whose ids the check's events bear.
async fn with_check(call: &Call, resource: &ResourceRecord) -> Result<jb_wire::api::Resource> {
    let mut shown = present::resource(resource);
    if let (Some(summary), Some(check)) = (&mut shown.build, &resource.last_check_build) {
        let plan = call.store().build_plan(check.id).await.map_err(store_failure)?;
        summary.plan = plan.and_then(|plan| plans::public_node(&plan));
    }
    Ok(shown)
}

async fn of_kind(call: &Call, kind: ResourceKind) -> Result<Vec<ResourceRecord>> {
    let pipeline = call.pipeline_id().await?;
    call.store().pipeline_resources(pipeline, kind).await.map_err(store_failure)
}

pub(super) async fn get(call: Call) -> Result<Response> {
    Ok(ok(&with_check(&call, &call.resource().await?).await?))
}

/// The types as they are configured, sources and all.
pub(super) async fn types(call: Call) -> Result<Response> {
    let types = of_kind(&call, ResourceKind::ResourceType).await?;
    Ok(ok(&types.into_iter().map(|kind| kind.config).collect::<Vec<_>>()))
}

pub(super) async fn check(mut call: Call, kind: ResourceKind) -> Result<Response> {
    let param = match kind {
        ResourceKind::Resource => "resource_name",
        ResourceKind::ResourceType => "resource_type_name",
        ResourceKind::Prototype => "prototype_name",
    };
    let request: CheckRequest = call.json().await?;
    let target = call.checkable(kind, param).await?;
    let from = request.from.filter(|version| !version.is_empty());
    // Clients have never been told who asked for a check.
    start(&call, &target, CheckOptions { from, shallow: request.shallow, created_by: None }).await
}

/// A check that a forge asks for, with the token that the resource's configuration names.
pub(super) async fn webhook(call: Call) -> Result<Response> {
    let given = call.query.get("webhook_token");
    if given.is_empty() {
        return Err(BAD_REQUEST);
    }
    let target = call.resource().await?;
    let configured = target.config.get("webhook_token").and_then(Value::as_str).unwrap_or("");
    let engine = call.state.engine();
    let token = if configured.contains("((") {
        engine.evaluate(target.pipeline.id, configured).await.map_err(Failure::internal)?
    } else {
        configured.to_owned()
    };
    if !same(&token, given) || token.is_empty() {
        return Err(Failure::Status(StatusCode::UNAUTHORIZED));
    }
    start(&call, &target, CheckOptions { shallow: true, ..CheckOptions::default() }).await
}

/// Compares secrets in a time that does not depend on where they differ.
fn same(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && differing == 0
}

async fn start(call: &Call, target: &ResourceRecord, options: CheckOptions) -> Result<Response> {
    let name = target.name.clone();
    let target = CheckTarget { pipeline: target.pipeline.id, kind: target.kind, name };
    let build = match call.state.engine().check(target, options).await {
        Ok(build) => build,
        Err(EngineError::NotFound(_)) => return Err(NOT_FOUND),
        Err(error) => {
            return Err(Failure::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
        }
    };
    let build = call.store().build(build).await.map_err(store_failure)?;
    let build = build.ok_or_else(|| Failure::internal("the check's build is gone"))?;
    Ok(json_as(StatusCode::CREATED, TEXT, &present::build(&build, false)))
}

pub(super) async fn unpin(call: Call) -> Result<Response> {
    let resource = call.resource().await?;
    call.store().unpin(resource.id, call.state.now()).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn pin_comment(mut call: Call) -> Result<Response> {
    let resource = call.resource().await?;
    let PinCommentRequest { pin_comment } = call.json().await?;
    call.store().set_pin_comment(resource.id, &pin_comment).await.map_err(store_failure)?;
    Ok(done())
}

/// Forgets what was fetched of a resource, of one version if the body names one.
pub(super) async fn clear_cache(mut call: Call) -> Result<Response> {
    let body = call.bytes().await?;
    let version = if body.iter().all(u8::is_ascii_whitespace) {
        None
    } else {
        let request: VersionRequest = serde_json::from_slice(&body).map_err(|_| BAD_REQUEST)?;
        request.version.filter(|version| !version.is_empty())
    };
    let name = call.param("resource_name");
    let resource = match call.resource().await {
        Err(Failure::Status(StatusCode::NOT_FOUND)) => {
            return Err(Failure::Detailed(
                StatusCode::NOT_FOUND,
                "Resource Not Found Error".to_owned(),
                format!("Resource with name '{name}' not found."),
            ));
        }
        resource => resource?,
    };
    match call.store().clear_resource_caches(resource.id, version.as_ref()).await {
        Ok(caches_removed) => Ok(ok(&CachesRemoved { caches_removed })),
        Err(error) => Err(Failure::Detailed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Clear Resource Cache Error".to_owned(),
            error.to_string(),
        )),
    }
}

/// Who uses the same version history.
pub(super) async fn shared(call: Call, kind: ResourceKind) -> Result<Response> {
    let param = match kind {
        ResourceKind::ResourceType => "resource_type_name",
        _ => "resource_name",
    };
    let resource = call.checkable(kind, param).await?;
    let mut shared = Shared::default();
    if let Some(scope) = resource.scope {
        for user in call.store().resources_of_scope(scope).await.map_err(store_failure)? {
            let entry = SharedBy {
                name: user.name,
                pipeline_name: user.pipeline.name,
                pipeline_instance_vars: None,
                team_name: user.pipeline.team_name,
            };
            match user.kind {
                ResourceKind::Resource => shared.resources.push(entry),
                _ => shared.resource_types.push(entry),
            }
        }
    }
    Ok(ok(&shared))
}
