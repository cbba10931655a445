//! Containers, volumes and workers.

use jb_model::{Object, Version};
use serde::Serialize;

use super::is_zero;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Container {
    /// The handle.
    pub id: String,
    pub worker_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step_name: String,
    /// Dotted, such as `2` or `1.3`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attempt: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub pipeline_id: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub job_id: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub build_id: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub resource_id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pipeline_name: String,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// A duration as Go writes them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_in: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Volume {
    /// The handle.
    pub id: String,
    pub worker_name: String,
    /// `container`, `resource`, `resource-type`, `resource-certs`, `task-cache` or `artifact`.
    #[serde(rename = "type")]
    pub kind: String,
    pub container_handle: String,
    pub path: String,
    pub parent_handle: String,
    pub resource_type: Option<Box<VolumeResourceType>>,
    pub base_resource_type: Option<BaseType>,
    pub pipeline_id: i64,
    pub pipeline_name: String,
    pub pipeline_instance_vars: Option<Object>,
    pub job_name: String,
    pub step_name: String,
}

/// The cache entry that a volume holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VolumeResourceType {
    pub resource_type: Option<Box<VolumeResourceType>>,
    pub base_resource_type: Option<BaseType>,
    pub version: Option<Version>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BaseType {
    pub name: String,
    pub version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Worker {
    pub addr: String,
    pub baggageclaim_url: String,
    pub active_containers: i64,
    pub active_volumes: i64,
    pub active_tasks: i64,
    pub max_active_tasks: i64,
    pub resource_types: Vec<WorkerResourceType>,
    pub platform: String,
    /// `null` when there are none.
    pub tags: Option<Vec<String>>,
    pub team: String,
    pub name: String,
    pub version: String,
    pub start_time: i64,
    pub ephemeral: bool,
    /// `running`, `stalled`, `landing`, `landed` or `retiring`.
    pub state: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerResourceType {
    #[serde(rename = "type")]
    pub kind: String,
    pub image: String,
    pub version: String,
    pub privileged: bool,
    pub unique_version_history: bool,
}
