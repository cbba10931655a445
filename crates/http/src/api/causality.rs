//! What a version led to, or came from, as a graph of jobs, builds, resources and versions.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::{BuildId, JobId, ResourceId, VersionId};
use jb_store::{Direction, Traced};
use jb_wire::api;

use super::versions::version_id;
use crate::call::{Call, store_failure};
use crate::reply::{Failure, NOT_FOUND, Result, ok};

pub(super) async fn get(call: Call, direction: Direction) -> Result<Response> {
    if !call.state.settings().features.resource_causality {
        return Err(Failure::Status(StatusCode::FORBIDDEN));
    }
    let id = version_id(&call)?;
    let resource = call.resource().await?.id;
    match call.store().causality(resource, id, direction).await.map_err(store_failure)? {
        Traced::UnknownVersion => Err(NOT_FOUND),
        Traced::TooLarge => Err(Failure::Status(StatusCode::UNPROCESSABLE_ENTITY)),
        Traced::Found(found) => Ok(ok(&graph(resource, direction, &found))),
    }
}

/// Leaves out resources that only stand beside the way: what a build downstream also used without any build before it
/// having made it, and what a build upstream also made.
fn graph(root: ResourceId, direction: Direction, found: &jb_store::Causality) -> api::Causality {
    let leads_on = |made: bool| made == (direction == Direction::Downstream);
    let on_the_way: BTreeSet<ResourceId> = found
        .uses
        .iter()
        .filter(|used| leads_on(used.made))
        .map(|used| used.resource)
        .chain([root])
        .collect();
    let mut jobs: BTreeMap<JobId, api::CausalityJob> = BTreeMap::new();
    let mut builds: BTreeMap<BuildId, api::CausalityBuild> = BTreeMap::new();
    for build in &found.builds {
        let job = jobs.entry(build.job).or_insert_with(|| api::CausalityJob {
            id: build.job.0,
            name: build.job_name.clone(),
            build_ids: Vec::new(),
        });
        job.build_ids.push(build.build.0);
        let shown = api::CausalityBuild {
            id: build.build.0,
            name: build.name.clone(),
            job_id: build.job.0,
            status: build.status.to_string(),
            resource_version_ids: Vec::new(),
        };
        builds.insert(build.build, shown);
    }
    let mut resources: BTreeMap<ResourceId, api::CausalityResource> = BTreeMap::new();
    let mut versions: BTreeMap<(ResourceId, VersionId), api::CausalityVersion> = BTreeMap::new();
    for used in found.uses.iter().filter(|used| on_the_way.contains(&used.resource)) {
        let resource = resources.entry(used.resource).or_insert_with(|| api::CausalityResource {
            id: used.resource.0,
            name: used.resource_name.clone(),
            version_ids: Vec::new(),
        });
        add(&mut resource.version_ids, used.version.0);
        let version = versions.entry((used.resource, used.version)).or_insert_with(|| {
            api::CausalityVersion {
                id: used.version.0,
                resource_id: used.resource.0,
                version: used.fields.clone(),
                build_ids: Vec::new(),
            }
        });
        if !leads_on(used.made) {
            add(&mut version.build_ids, used.build.0);
        } else if let Some(build) = builds.get_mut(&used.build) {
            add(&mut build.resource_version_ids, used.version.0);
        }
    }
    api::Causality {
        jobs: jobs.into_values().collect(),
        builds: builds.into_values().collect(),
        resources: resources.into_values().collect(),
        resource_versions: versions.into_values().collect(),
    }
}

/// A build may use or make a version under several names.
fn add(ids: &mut Vec<i64>, id: i64) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}
