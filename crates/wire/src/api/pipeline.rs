//! Pipelines.

use jb_model::{Object, Value};
use serde::Serialize;

use super::is_zero;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pipeline {
    pub id: i64,
    pub name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub instance_vars: Object,
    pub paused: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub paused_by: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub paused_at: i64,
    pub public: bool,
    pub archived: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    pub team_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
    /// Free-form data of the pipeline's file.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub user_data: Value,
    #[serde(skip_serializing_if = "is_zero")]
    pub parent_build_id: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub parent_job_id: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub last_updated: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Display {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub background_image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub background_filter: String,
}
