//! Plans as they are stored: made by the planner, written as private JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use jb_model::{JobConfig, PipelineConfig, Value, Version};
use jb_store::ResourceKind;

/// A check to plan.
#[derive(Clone, Debug)]
pub struct WantedCheck<'a> {
    pub kind: ResourceKind,
    pub name: &'a str,
    pub from_version: Option<Version>,
    /// None for never.
    pub interval: Option<Duration>,
    pub skip_interval: bool,
    pub skip_interval_of_types: bool,
}

/// The plan of a job's build with these versions of its inputs.
pub fn job_plan(
    pipeline: &PipelineConfig,
    job: &JobConfig,
    versions: &BTreeMap<String, Version>,
    manual: bool,
) -> Result<Value, String> {
    let _ = (pipeline, manual);
    Ok(serde_json::json!({"id": "1", "job": job.name, "versions": versions}))
}

/// The plan of a check.
pub fn check_plan(pipeline: &PipelineConfig, wanted: &WantedCheck<'_>) -> Result<Value, String> {
    let _ = pipeline;
    Ok(serde_json::json!({"id": "1", "check": {"name": wanted.name}}))
}
