//! Versions of resources.

use axum::response::Response;
use jb_model::{Version, VersionId};
use jb_store::{BuildRecord, ResourceKind, ResourceRecord, ResourceVersion};
use jb_wire::api::{self, MetadataField};
use serde::Serialize;

use super::{pages, present};
use crate::call::{Call, store_failure};
use crate::instance_vars;
use crate::page::{Neighbours, Page, link};
use crate::reply::{BAD_REQUEST, Failure, NOT_FOUND, Result, done, ok};

/// What a version says about itself is for those with a role, unless the resource is public.
fn shows_metadata(call: &Call, resource: &ResourceRecord) -> bool {
    let public = resource.config.get("public").and_then(jb_model::Value::as_bool);
    public.unwrap_or(false) || call.may(&resource.pipeline.team_name)
}

fn shown(version: ResourceVersion, with_metadata: bool) -> api::ResourceVersion {
    let metadata = if with_metadata { version.metadata } else { Vec::new() };
    let field = |field: jb_model::Metadata| MetadataField { name: field.name, value: field.value };
    api::ResourceVersion {
        id: version.id.0,
        metadata: metadata.into_iter().map(field).collect(),
        version: version.version,
        enabled: version.enabled,
    }
}

pub(super) async fn list(call: Call) -> Result<Response> {
    let resource = call.resource().await?;
    let (page, _) = pages::wanted(&call);
    // A filter without a value cannot match anything and is left out, as clients expect.
    let filter: Version = call
        .query
        .all("filter")
        .filter_map(|filter| filter.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let found = call.store().resource_versions(resource.id, &filter, page).await;
    let found = found.map_err(store_failure)?;
    let with_metadata = shows_metadata(&call, &resource);
    let list: Vec<_> = found.items.into_iter().map(|v| shown(v, with_metadata)).collect();
    let mut response = ok(&list);
    let pipeline = &resource.pipeline;
    let url = format!(
        "{}/api/v1/teams/{}/pipelines/{}/resources/{}/versions",
        call.state.settings().external_url,
        pipeline.team_name,
        pipeline.name,
        resource.name
    );
    let neighbours = Neighbours { older: found.older, newer: found.newer };
    let vars = instance_vars::render(&pipeline.instance_vars);
    link(response.headers_mut(), &url, neighbours, Page::parse(&call.query).limit, &vars);
    Ok(response)
}

pub(super) fn version_id(call: &Call) -> Result<VersionId> {
    let id = call.param("resource_config_version_id").parse();
    id.map(VersionId).map_err(|_| BAD_REQUEST)
}

pub(super) async fn get(call: Call) -> Result<Response> {
    let id = version_id(&call)?;
    let resource = call.resource().await?;
    let version = call.store().resource_version(resource.id, id).await.map_err(store_failure)?;
    let version = version.ok_or(NOT_FOUND)?;
    Ok(ok(&shown(version, shows_metadata(&call, &resource))))
}

pub(super) async fn set_enabled(call: Call, enabled: bool) -> Result<Response> {
    let id = version_id(&call)?;
    let resource = call.resource().await?;
    let now = call.state.now();
    let found = call.store().set_version_enabled(resource.id, id, enabled, now).await;
    if found.map_err(store_failure)? { Ok(done()) } else { Err(NOT_FOUND) }
}

pub(super) async fn pin(call: Call) -> Result<Response> {
    let id = version_id(&call)?;
    let resource = call.resource().await?;
    if present::configured_version(&resource.config).is_some() {
        return Err(Failure::internal("the version is pinned in the pipeline's configuration"));
    }
    let found = call.store().pin_version(resource.id, id, call.state.now()).await;
    if found.map_err(store_failure)? { Ok(done()) } else { Err(NOT_FOUND) }
}

pub(super) async fn input_to(call: Call) -> Result<Response> {
    let id = version_id(&call)?;
    let resource = call.resource().await?;
    builds(call.store().builds_with_input(resource.id, id).await)
}

pub(super) async fn output_of(call: Call) -> Result<Response> {
    let id = version_id(&call)?;
    let resource = call.resource().await?;
    builds(call.store().builds_with_output(resource.id, id).await)
}

fn builds(found: jb_store::Result<Vec<BuildRecord>>) -> Result<Response> {
    let builds = found.map_err(store_failure)?;
    Ok(ok(&builds.iter().map(|build| present::build(build, false)).collect::<Vec<_>>()))
}

#[derive(Serialize)]
struct VersionsRemoved {
    versions_removed: u64,
}

pub(super) async fn clear(call: Call, kind: ResourceKind) -> Result<Response> {
    let param = match kind {
        ResourceKind::ResourceType => "resource_type_name",
        _ => "resource_name",
    };
    let resource = call.checkable(kind, param).await?;
    let removed = call.store().clear_versions(resource.id, call.state.now()).await;
    Ok(ok(&VersionsRemoved { versions_removed: removed.map_err(store_failure)? }))
}
