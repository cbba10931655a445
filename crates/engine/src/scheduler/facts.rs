//! What one pass over a job knows: its rows and its part of the configuration, joined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jb_model::config::{GetStep, VersionChoice};
use jb_model::{JobConfig, JobId, PipelineConfig, ResourceConfig, ResourceId};
use jb_pipeline::validate::each_get_and_put;
use jb_resolve::Input;
use jb_store::sched::JobResource;
use jb_store::{JobRecord, Result};

use super::Scheduler;
use super::readiness::CheckedInput;

/// A `get` of the job, with rows for names.
#[derive(Clone, Debug)]
pub(crate) struct JobGet {
    pub(crate) trigger: bool,
    pub(crate) input: Input,
    pub(crate) checked: CheckedInput,
}

pub(crate) struct JobFacts {
    pub(crate) job: JobRecord,
    pub(crate) pipeline: Arc<PipelineConfig>,
    pub(crate) config: JobConfig,
    /// By name, which is the order the resolution tries them in.
    pub(crate) gets: Vec<JobGet>,
    pub(crate) resources: BTreeMap<ResourceId, JobResource>,
}

impl JobFacts {
    /// Nothing when the job left the configuration meanwhile.
    pub(crate) async fn load(scheduler: &Scheduler, job: JobRecord) -> Result<Option<Self>> {
        let Scheduler { store, configs, checks, .. } = scheduler;
        let Some(pipeline) = configs.get(job.pipeline.id).await? else { return Ok(None) };
        let Some(config) = pipeline.jobs.iter().find(|config| config.name == job.name).cloned()
        else {
            return Ok(None);
        };
        let resources = store.job_resources(job.id).await?;
        let gets = gets_of(&config);
        let passes = gets.iter().any(|get| !get.passed.is_empty());
        let upstream: BTreeMap<String, JobId> = if passes {
            let jobs = store.upstream_jobs(job.id).await?;
            jobs.into_iter().map(|(id, name)| (name, id)).collect()
        } else {
            BTreeMap::new()
        };
        let mut joined: Vec<JobGet> = gets
            .into_iter()
            .filter_map(|get| {
                let resource =
                    resources.iter().find(|resource| resource.name == get.resource_name())?;
                let config =
                    pipeline.resources.iter().find(|config| config.name == resource.name)?;
                let interval = checks.interval_of(config);
                Some(job_get(get, resource, config, interval, &upstream))
            })
            .collect();
        joined.sort_by(|a, b| a.input.name.cmp(&b.input.name));
        joined.dedup_by(|a, b| a.input.name == b.input.name);
        let resources = resources.into_iter().map(|resource| (resource.id, resource)).collect();
        Ok(Some(Self { job, pipeline, config, gets: joined, resources }))
    }

    pub(crate) fn inputs(&self) -> Vec<Input> {
        self.gets.iter().map(|get| get.input.clone()).collect()
    }

    pub(crate) fn checked_inputs(&self) -> Vec<CheckedInput> {
        self.gets.iter().map(|get| get.checked).collect()
    }

    pub(crate) fn resource_name(&self, resource: ResourceId) -> &str {
        self.resources.get(&resource).map_or("", |resource| resource.name.as_str())
    }
}

fn job_get(
    get: &GetStep,
    resource: &JobResource,
    config: &ResourceConfig,
    interval: Option<Duration>,
    upstream: &BTreeMap<String, JobId>,
) -> JobGet {
    let check = &resource.check;
    // The configuration's pin holds before one set by a person.
    let pin = config.version.clone().or_else(|| resource.pin.clone());
    let checked = CheckedInput {
        resource: resource.id,
        trigger: get.trigger,
        has_passed: !get.passed.is_empty(),
        resource_pinned: pin.is_some(),
        last_check_ended: check.last_end.max(resource.last_check_build_end),
        next_check: check.last_end.map(|end| end.after(interval.unwrap_or_default())),
    };
    let pinned = match &get.version {
        VersionChoice::Pinned(version) => Some(version.clone()),
        VersionChoice::Every | VersionChoice::Latest => pin,
    };
    let input = Input {
        name: get.name.clone(),
        resource: resource.id,
        passed: get.passed.iter().filter_map(|name| upstream.get(name).copied()).collect(),
        every: get.version == VersionChoice::Every,
        pinned,
    };
    JobGet { trigger: get.trigger, input, checked }
}

/// Every `get` of a job's plan and hooks.
pub(crate) fn gets_of(job: &JobConfig) -> Vec<&GetStep> {
    let mut gets = Vec::new();
    each_get_and_put(job, &mut |_, get| gets.extend(get));
    gets
}

/// Names of inputs whose resources are among those awaited.
pub(crate) fn names_of(gets: &[JobGet], awaited: &BTreeSet<ResourceId>) -> BTreeSet<String> {
    gets.iter()
        .filter(|get| awaited.contains(&get.input.resource) && !get.checked.has_passed)
        .map(|get| get.input.name.clone())
        .collect()
}
