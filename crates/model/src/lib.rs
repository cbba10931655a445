//! The vocabulary of JetBridge: ids, statuses, pipeline configuration, plans and build events as plain data.
//!
//! This crate does no IO, reads no clock and knows no stored form. JSON shapes live in `jb-wire`,
//! YAML in `jb-yaml` and `jb-pipeline`.

pub mod address;
pub mod agent;
pub mod approval;
pub mod config;
pub mod duration;
pub mod event;
pub mod id;
pub mod plan;
pub mod script;
pub mod status;
pub mod value;

pub use config::{JobConfig, PipelineConfig, ResourceConfig, ResourceTypeConfig, TaskConfig};
pub use event::BuildEvent;
pub use id::{
    ApprovalId, ArtifactId, BuildId, ContainerHandle, JobId, PipelineId, PlanId, ResourceId,
    ScopeId, TeamId, Timestamp, VersionId, VolumeHandle,
};
pub use plan::{Plan, PlanStep};
pub use status::{BuildStatus, Outcome};
pub use value::{Metadata, Object, Value, Version};
