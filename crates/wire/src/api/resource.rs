//! Resources and their versions.

use jb_model::{Object, Version};
use serde::Serialize;

use super::{BuildSummary, is_false, is_zero};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Resource {
    pub name: String,
    pub pipeline_id: i64,
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    pub team_name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub last_checked: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub icon: String,
    #[serde(skip_serializing_if = "Version::is_empty")]
    pub pinned_version: Version,
    #[serde(skip_serializing_if = "is_false")]
    pub pinned_in_config: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pin_comment: String,
    /// The last check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildSummary>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResourceVersion {
    pub id: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<MetadataField>,
    pub version: Version,
    pub enabled: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MetadataField {
    pub name: String,
    pub value: String,
}

/// Who else uses the version history of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shared {
    pub resources: Vec<SharedBy>,
    pub resource_types: Vec<SharedBy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SharedBy {
    pub name: String,
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_instance_vars: Option<String>,
    pub team_name: String,
}

/// What a version led to, or came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Causality {
    pub jobs: Vec<CausalityJob>,
    pub builds: Vec<CausalityBuild>,
    pub resources: Vec<CausalityResource>,
    pub resource_versions: Vec<CausalityVersion>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityJob {
    pub id: i64,
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub build_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityBuild {
    pub id: i64,
    pub name: String,
    pub job_id: i64,
    pub status: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_version_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityResource {
    pub id: i64,
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub version_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityVersion {
    pub id: i64,
    pub resource_id: i64,
    pub version: Version,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub build_ids: Vec<i64>,
}

/// What the resolver of inputs goes by in one pipeline, for debugging.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionsDb {
    pub jobs: Vec<DebugJob>,
    pub resources: Vec<DebugResource>,
    pub resource_versions: Vec<DebugVersion>,
    /// What succeeded builds made, and what they used: both vouch for versions.
    pub build_outputs: Vec<DebugOutput>,
    pub build_inputs: Vec<DebugInput>,
    pub build_reruns: Vec<DebugRerun>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebugJob {
    #[serde(rename = "Name")]
    pub name: String,
    #[serde(rename = "ID")]
    pub id: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebugResource {
    #[serde(rename = "Name")]
    pub name: String,
    #[serde(rename = "ID")]
    pub id: i64,
    /// Null until the first check.
    #[serde(rename = "ScopeID")]
    pub scope_id: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebugVersion {
    #[serde(rename = "VersionID")]
    pub version_id: i64,
    #[serde(rename = "ResourceID")]
    pub resource_id: i64,
    #[serde(rename = "CheckOrder")]
    pub check_order: i64,
    #[serde(rename = "ScopeID")]
    pub scope_id: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebugOutput {
    #[serde(flatten)]
    pub version: DebugVersion,
    #[serde(rename = "BuildID")]
    pub build_id: i64,
    #[serde(rename = "JobID")]
    pub job_id: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebugInput {
    #[serde(flatten)]
    pub version: DebugVersion,
    #[serde(rename = "BuildID")]
    pub build_id: i64,
    #[serde(rename = "JobID")]
    pub job_id: i64,
    #[serde(rename = "InputName")]
    pub input_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DebugRerun {
    #[serde(rename = "BuildID")]
    pub build_id: i64,
    #[serde(rename = "JobID")]
    pub job_id: i64,
    #[serde(rename = "RerunOf")]
    pub rerun_of: i64,
}
