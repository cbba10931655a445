//! From the store's records to the API's objects.

use std::collections::BTreeMap;

use jb_model::{Timestamp, Value};
use jb_store::{
    ArtifactRecord, BuildBrief, BuildRecord, ContainerRecord, JobRecord, PipelineRecord,
    PipelineRef, ResourceRecord, TeamRecord, VolumeRecord,
};
use jb_wire::api;

/// Seconds, 0 for never.
pub(crate) fn seconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::unix_seconds)
}

/// A build; its comment only for those who may read it.
pub(crate) fn build(build: &BuildRecord, with_comment: bool) -> api::Build {
    let pipeline = build.pipeline.as_ref();
    api::Build {
        id: build.id.0,
        team_name: build.team_name.clone(),
        name: build.name.clone(),
        status: build.status.to_string(),
        api_url: format!("/api/v1/builds/{}", build.id),
        comment: if with_comment { build.comment.clone() } else { String::new() },
        job_name: build.job_name.clone().unwrap_or_default(),
        resource_name: build.resource_name.clone().unwrap_or_default(),
        pipeline_id: pipeline.map_or(0, |pipeline| pipeline.id.0),
        pipeline_name: pipeline.map(|pipeline| pipeline.name.clone()).unwrap_or_default(),
        pipeline_instance_vars: pipeline
            .map(|pipeline| pipeline.instance_vars.clone())
            .unwrap_or_default(),
        start_time: seconds(build.start_time),
        end_time: seconds(build.end_time),
        reap_time: seconds(build.reap_time),
        rerun_number: i64::from(build.rerun_number),
        rerun_of: build
            .rerun_of
            .as_ref()
            .map(|of| api::RerunOf { id: of.id.0, name: of.name.clone() }),
        created_by: build.created_by.clone(),
    }
}

/// A build as jobs and resources mention it.
pub(crate) fn brief(brief: &BuildBrief, pipeline: &PipelineRef, job: &str) -> api::BuildSummary {
    api::BuildSummary {
        id: brief.id.0,
        name: brief.name.clone(),
        status: brief.status.to_string(),
        start_time: seconds(brief.start_time),
        end_time: seconds(brief.end_time),
        team_name: pipeline.team_name.clone(),
        pipeline_id: pipeline.id.0,
        pipeline_name: pipeline.name.clone(),
        pipeline_instance_vars: pipeline.instance_vars.clone(),
        job_name: job.to_owned(),
        plan: None,
    }
}

pub(crate) fn job_summary(job: &JobRecord) -> api::JobSummary {
    let brief =
        |build: &Option<BuildBrief>| build.as_ref().map(|b| brief(b, &job.pipeline, &job.name));
    api::JobSummary {
        id: job.id.0,
        name: job.name.clone(),
        team_name: job.pipeline.team_name.clone(),
        pipeline_id: job.pipeline.id.0,
        pipeline_name: job.pipeline.name.clone(),
        pipeline_instance_vars: job.pipeline.instance_vars.clone(),
        paused: job.paused,
        paused_by: job.paused_by.clone().unwrap_or_default(),
        paused_at: seconds(job.paused_at),
        has_new_inputs: job.has_new_inputs,
        groups: job.groups.clone(),
        finished_build: brief(&job.finished_build),
        next_build: brief(&job.next_build),
        transition_build: brief(&job.transition_build),
        inputs: job
            .inputs
            .iter()
            .map(|input| api::JobInputSummary {
                name: input.name.clone(),
                resource: input.resource.clone(),
                passed: input.passed.clone(),
                trigger: input.trigger,
            })
            .collect(),
        outputs: outputs(job),
    }
}

/// A job with its builds, which the caller has looked up.
pub(crate) fn job(
    job: &JobRecord,
    next: Option<api::Build>,
    finished: Option<api::Build>,
) -> api::Job {
    api::Job {
        id: job.id.0,
        name: job.name.clone(),
        team_name: job.pipeline.team_name.clone(),
        pipeline_id: job.pipeline.id.0,
        pipeline_name: job.pipeline.name.clone(),
        pipeline_instance_vars: job.pipeline.instance_vars.clone(),
        paused: job.paused,
        paused_by: job.paused_by.clone().unwrap_or_default(),
        paused_at: seconds(job.paused_at),
        has_new_inputs: job.has_new_inputs,
        groups: job.groups.clone(),
        first_logged_build_id: job.first_logged_build.map_or(0, |build| build.0),
        disable_manual_trigger: job.disable_manual_trigger,
        disable_reruns: job.disable_reruns,
        next_build: next,
        finished_build: finished,
        transition_build: None,
        inputs: job
            .inputs
            .iter()
            .map(|input| api::JobInput {
                name: input.name.clone(),
                resource: input.resource.clone(),
                trigger: input.trigger,
                passed: input.passed.clone(),
                version: None,
            })
            .collect(),
        outputs: outputs(job),
    }
}

fn outputs(job: &JobRecord) -> Vec<api::JobOutput> {
    job.outputs
        .iter()
        .map(|output| api::JobOutput {
            name: output.name.clone(),
            resource: output.resource.clone(),
        })
        .collect()
}

pub(crate) fn pipeline(pipeline: &PipelineRecord) -> api::Pipeline {
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let texts = |value: &Value, key: &str| -> Vec<String> {
        let list = value.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    api::Pipeline {
        id: pipeline.id.0,
        name: pipeline.name.clone(),
        instance_vars: pipeline.instance_vars.clone(),
        paused: pipeline.paused,
        paused_by: pipeline.paused_by.clone().unwrap_or_default(),
        // A pipeline that began paused was paused by nobody at no time.
        paused_at: pipeline.paused_by.as_ref().map_or(0, |_| seconds(pipeline.paused_at)),
        public: pipeline.public,
        archived: pipeline.archived,
        groups: pipeline
            .groups
            .as_array()
            .into_iter()
            .flatten()
            .map(|group| api::Group {
                name: text(group, "name"),
                jobs: texts(group, "jobs"),
                resources: texts(group, "resources"),
            })
            .collect(),
        team_name: pipeline.team_name.clone(),
        display: pipeline.display.as_ref().filter(|display| display.is_object()).map(|display| {
            api::Display {
                background_image: text(display, "background_image"),
                background_filter: text(display, "background_filter"),
            }
        }),
        user_data: pipeline.user_data.clone().unwrap_or(Value::Null),
        parent_build_id: pipeline.parent_build.map_or(0, |build| build.0),
        parent_job_id: pipeline.parent_job.map_or(0, |job| job.0),
        last_updated: pipeline.last_updated.unix_seconds(),
    }
}

/// A version in a configuration: a map of texts.
pub(crate) fn configured_version(config: &Value) -> Option<jb_model::Version> {
    let version = config.get("version")?.as_object()?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(version.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

pub(crate) fn resource(resource: &ResourceRecord) -> api::Resource {
    let configured = configured_version(&resource.config);
    let pinned_in_config = configured.is_some();
    let pinned = configured.or_else(|| resource.pin.as_ref().map(|pin| pin.version.clone()));
    let comment = resource.pin.as_ref().map(|pin| pin.comment.clone());
    let icon = resource.config.get("icon").and_then(Value::as_str).unwrap_or_default();
    api::Resource {
        name: resource.name.clone(),
        pipeline_id: resource.pipeline.id.0,
        pipeline_name: resource.pipeline.name.clone(),
        pipeline_instance_vars: resource.pipeline.instance_vars.clone(),
        team_name: resource.pipeline.team_name.clone(),
        kind: resource.type_name.clone(),
        last_checked: seconds(resource.check.last_end),
        icon: icon.to_owned(),
        pinned_version: pinned.unwrap_or_default(),
        pinned_in_config,
        pin_comment: comment
            .filter(|comment| !comment.is_empty())
            .or_else(|| resource.pin_comment.clone())
            .unwrap_or_default(),
        build: resource.last_check_build.as_ref().map(|build| brief(build, &resource.pipeline, "")),
    }
}

pub(crate) fn team(team: &TeamRecord) -> api::Team {
    let auth = crate::identity::auth_of(&team.auth)
        .into_iter()
        .map(|(role, auth)| {
            let lists = [("groups".to_owned(), auth.groups), ("users".to_owned(), auth.users)];
            (role, BTreeMap::from(lists))
        })
        .collect();
    api::Team { id: team.id.0, name: team.name.clone(), auth }
}

pub(crate) fn container(container: &ContainerRecord) -> api::Container {
    let pipeline = container.pipeline.as_ref();
    api::Container {
        id: container.handle.to_string(),
        worker_name: container.worker.clone(),
        state: container.state.as_str().to_owned(),
        kind: container.kind.clone(),
        step_name: container.step_name.clone(),
        attempt: container.attempt.clone(),
        pipeline_id: pipeline.map_or(0, |pipeline| pipeline.id.0),
        job_id: container.job_id.map_or(0, |job| job.0),
        build_id: container.build.map_or(0, |build| build.0),
        resource_id: container.resource_id.map_or(0, |resource| resource.0),
        pipeline_name: pipeline.map(|pipeline| pipeline.name.clone()).unwrap_or_default(),
        pipeline_instance_vars: pipeline
            .map(|pipeline| pipeline.instance_vars.clone())
            .unwrap_or_default(),
        job_name: container.job_name.clone().unwrap_or_default(),
        build_name: container.build_name.clone().unwrap_or_default(),
        resource_name: container.resource_name.clone().unwrap_or_default(),
        user: container.user.clone(),
        working_directory: container.working_dir.clone(),
        expires_in: String::new(),
    }
}

pub(crate) fn volume(record: &VolumeRecord) -> api::Volume {
    let volume = &record.volume;
    api::Volume {
        id: volume.handle.to_string(),
        worker_name: volume.worker.clone(),
        kind: volume.kind.clone(),
        container_handle: volume.container.as_ref().map(ToString::to_string).unwrap_or_default(),
        path: volume.path.clone(),
        parent_handle: volume.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        // Clients take it for granted with this kind, so it is there while the version is still fetched.
        resource_type: (volume.kind == "resource").then(|| Box::new(cached(record))),
        step_name: volume.step_name.clone(),
        ..api::Volume::default()
    }
}

fn cached(record: &VolumeRecord) -> api::VolumeResourceType {
    let Some((kind, version)) = record.cached.clone() else {
        return api::VolumeResourceType::default();
    };
    let base = api::BaseType { name: kind, version: String::new() };
    api::VolumeResourceType {
        resource_type: None,
        base_resource_type: Some(base),
        version: Some(version),
    }
}

pub(crate) fn artifact(artifact: &ArtifactRecord) -> api::WorkerArtifact {
    api::WorkerArtifact {
        id: artifact.id.0,
        name: artifact.name.clone(),
        build_id: artifact.build.map_or(0, |build| build.0),
        created_at: artifact.created_at.unix_seconds(),
    }
}
