//! The objects of the HTTP API, field by field in the order that clients have always seen.
//!
//! Fields that are left out when empty say so; everything else is always there. Times are whole
//! seconds since the epoch.

mod approval;
mod build;
mod container;
mod job;
mod json;
mod pipeline;
mod pod;
mod requests;
mod resource;
mod system;
mod team;
#[cfg(test)]
mod tests;
mod usage;

pub use approval::{AnswerRequest, Approval, ApprovalAnswer, ApprovalArtifact, Problem};
pub use build::{
    Build, BuildInput, BuildPreparation, BuildResources, BuildSummary, PublicBuildInput,
    PublicBuildOutput, RerunOf, WorkerArtifact,
};
pub use container::{BaseType, Container, Volume, VolumeResourceType, Worker, WorkerResourceType};
pub use job::{Job, JobInput, JobInputSummary, JobOutput, JobSummary};
pub use json::{to_body, to_text};
pub use pipeline::{Display, Group, Pipeline};
pub use pod::{Pod, PodContainer};
pub use requests::{
    CheckRequest, CommentRequest, NewName, PinCommentRequest, SetTeamRequest, VersionRequest,
};
pub use resource::{
    Causality, CausalityBuild, CausalityJob, CausalityResource, CausalityVersion, DebugInput,
    DebugJob, DebugOutput, DebugRerun, DebugResource, DebugVersion, MetadataField, Resource,
    ResourceVersion, Shared, SharedBy, VersionsDb,
};
pub use system::{
    Component, ComponentHealth, ConfigErrors, ConfigResponse, DatabaseHealth, DetailedError,
    Health, Info, KeySet, OpenIdConfiguration, SaveConfigResponse, User, UserInfo, Wall, Warning,
    WorkerHealth,
};
pub use team::{Team, TeamAuth, TeamResponse};
pub use usage::{
    AgentUsage, BuildAgentUsage, JobAgentUsage, OneBuildAgentUsage, OneJobAgentUsage,
    StepAgentUsage, TeamAgentUsage,
};

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}
