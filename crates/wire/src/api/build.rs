//! Builds and what belongs to them.

use std::collections::BTreeMap;

use jb_model::{Object, Version};
use serde::Serialize;
use serde_json::value::RawValue;

use super::is_zero;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Build {
    pub id: i64,
    pub team_name: String,
    pub name: String,
    pub status: String,
    /// A path, not a URL.
    pub api_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub pipeline_id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_time: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub end_time: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub reap_time: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub rerun_number: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RerunOf>,
    /// Nobody for builds that the system started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RerunOf {
    pub id: i64,
    pub name: String,
}

/// A build as jobs and resources mention it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BuildSummary {
    pub id: i64,
    pub name: String,
    pub status: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_time: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub end_time: i64,
    pub team_name: String,
    pub pipeline_id: i64,
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_name: String,
    /// The public plan, for checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildResources {
    pub inputs: Vec<PublicBuildInput>,
    pub outputs: Vec<PublicBuildOutput>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublicBuildInput {
    pub name: String,
    pub version: Version,
    pub pipeline_id: i64,
    pub first_occurrence: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublicBuildOutput {
    pub name: String,
    pub version: Version,
}

/// An input of a job's next build, with all that is needed to fetch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BuildInput {
    pub name: String,
    pub resource: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub source: Object,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub params: Object,
    pub version: Version,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Why a build does not start yet: each value is `unknown`, `blocking` or `not_blocking`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildPreparation {
    pub build_id: i64,
    pub paused_pipeline: &'static str,
    pub paused_job: &'static str,
    pub max_running_builds: &'static str,
    pub inputs: BTreeMap<String, &'static str>,
    pub inputs_satisfied: &'static str,
    pub missing_input_reasons: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerArtifact {
    pub id: i64,
    pub name: String,
    pub build_id: i64,
    pub created_at: i64,
}
