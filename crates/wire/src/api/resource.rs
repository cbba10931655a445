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
    pub build_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityBuild {
    pub id: i64,
    pub name: String,
    pub job_id: i64,
    pub status: String,
    pub resource_version_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityResource {
    pub id: i64,
    pub name: String,
    pub version_ids: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CausalityVersion {
    pub id: i64,
    pub resource_id: i64,
    pub version: Version,
    pub build_ids: Vec<i64>,
}
