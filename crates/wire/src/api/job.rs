//! Jobs, whole and as lists show them.

use jb_model::{Object, Value};
use serde::Serialize;

use super::{Build, BuildSummary, is_false, is_zero};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Job {
    pub id: i64,
    pub name: String,
    pub team_name: String,
    pub pipeline_id: i64,
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "is_false")]
    pub paused: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub paused_by: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub paused_at: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub has_new_inputs: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub first_logged_build_id: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub disable_manual_trigger: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub disable_reruns: bool,
    pub next_build: Option<Build>,
    pub finished_build: Option<Build>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_build: Option<Build>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<JobInput>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<JobOutput>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JobInput {
    pub name: String,
    pub resource: String,
    pub trigger: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
    /// `latest`, `every` or a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobOutput {
    pub name: String,
    pub resource: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct JobSummary {
    pub id: i64,
    pub name: String,
    pub team_name: String,
    pub pipeline_id: i64,
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "is_false")]
    pub paused: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub paused_by: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub paused_at: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub has_new_inputs: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_build: Option<BuildSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_build: Option<BuildSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_build: Option<BuildSummary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<JobInputSummary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<JobOutput>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobInputSummary {
    pub name: String,
    pub resource: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub trigger: bool,
}
