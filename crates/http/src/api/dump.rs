//! `versions-db`: what the resolver of inputs goes by.

use axum::http::StatusCode;
use axum::response::Response;
use jb_store::dump::DUMP_ROWS_MAX;
use jb_store::{DumpedVersion, VersionsDump};
use jb_wire::api;

use crate::call::{Call, store_failure};
use crate::reply::{Failure, Result, ok};

pub(super) async fn get(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    let dump = call.store().dump_versions(pipeline).await.map_err(store_failure)?;
    let dump = dump.ok_or_else(|| {
        let text = format!(
            "the pipeline has more than {DUMP_ROWS_MAX} versions, or uses of them, to dump; page through .../resources/NAME/versions and .../builds instead\n"
        );
        Failure::text(StatusCode::UNPROCESSABLE_ENTITY, text)
    })?;
    Ok(ok(&present(dump)))
}

fn present(dump: VersionsDump) -> api::VersionsDb {
    let outputs = dump.outputs.iter();
    // What a succeeded build used counts as if it had made it.
    let vouched = outputs.chain(dump.inputs.iter().filter(|used| used.succeeded));
    let build_outputs = vouched.map(|used| api::DebugOutput {
        version: version(used.version),
        build_id: used.build.0,
        job_id: used.job.0,
    });
    let build_outputs = build_outputs.collect();
    let inputs = dump.inputs.into_iter().map(|used| api::DebugInput {
        version: version(used.version),
        build_id: used.build.0,
        job_id: used.job.0,
        input_name: used.name,
    });
    let resources = dump.resources.into_iter().map(|(id, name, scope)| api::DebugResource {
        name,
        id: id.0,
        scope_id: scope.map(|scope| scope.0),
    });
    let reruns = dump.reruns.into_iter().map(|rerun| api::DebugRerun {
        build_id: rerun.build.0,
        job_id: rerun.job.0,
        rerun_of: rerun.of.0,
    });
    api::VersionsDb {
        jobs: dump.jobs.into_iter().map(|(id, name)| api::DebugJob { name, id: id.0 }).collect(),
        resources: resources.collect(),
        resource_versions: dump.versions.into_iter().map(version).collect(),
        build_outputs,
        build_inputs: inputs.collect(),
        build_reruns: reruns.collect(),
    }
}

fn version(found: DumpedVersion) -> api::DebugVersion {
    api::DebugVersion {
        version_id: found.version.0,
        resource_id: found.resource.0,
        check_order: found.check_order,
        scope_id: found.scope.0,
    }
}
