//! Resources, resource types and prototypes: their rows, scopes, pins and check bookkeeping.

use std::time::Duration;

use jb_model::{BuildId, PipelineId, ResourceId, ScopeId, Timestamp, Value, Version, VersionId};

use crate::{BuildBrief, PipelineRef, Result, Store, Visible};

/// Which list of the configuration a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    Resource,
    ResourceType,
    Prototype,
}

impl ResourceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::ResourceType => "resource_type",
            Self::Prototype => "prototype",
        }
    }
}

/// A pin set through the API. A pin in the configuration is in [`ResourceRecord::config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub version: Version,
    pub comment: String,
}

/// What is known of the last check of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    pub last_start: Option<Timestamp>,
    pub last_end: Option<Timestamp>,
    /// Whether the last check that ended did so well.
    pub succeeded: bool,
    pub last_build: Option<BuildId>,
    /// Not before this time is the next periodic check due.
    pub next_due: Option<Timestamp>,
}

/// A resource, resource type or prototype of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceRecord {
    pub id: ResourceId,
    pub kind: ResourceKind,
    pub pipeline: PipelineRef,
    pub pipeline_paused: bool,
    pub name: String,
    /// The resource type's name.
    pub type_name: String,
    /// Its part of the configuration as JSON.
    pub config: Value,
    /// Where its versions are, once it was checked.
    pub scope: Option<ScopeId>,
    pub pin: Option<Pin>,
    /// A comment set without a pin is kept here too.
    pub pin_comment: Option<String>,
    pub check: CheckState,
    /// The last check's build, when it has a row.
    pub last_check_build: Option<BuildBrief>,
}

impl Store {
    /// Resources (not types) of all teams as far as visible, of pipelines that are not archived.
    pub async fn all_resources(&self, visible: &Visible) -> Result<Vec<ResourceRecord>> {
        unfinished!(visible)
    }

    /// The active rows of one kind of a pipeline, in the order of its configuration.
    pub async fn pipeline_resources(
        &self,
        pipeline: PipelineId,
        kind: ResourceKind,
    ) -> Result<Vec<ResourceRecord>> {
        unfinished!(pipeline, kind)
    }

    pub async fn resource(&self, resource: ResourceId) -> Result<Option<ResourceRecord>> {
        unfinished!(resource)
    }

    /// Finds an active row by name.
    pub async fn resource_by_name(
        &self,
        pipeline: PipelineId,
        kind: ResourceKind,
        name: &str,
    ) -> Result<Option<ResourceRecord>> {
        unfinished!(pipeline, kind, name)
    }

    /// Candidates for periodic checks: active resources of pipelines neither paused nor archived that are
    /// never checked or whose `next_due` has come, that are inputs of an active job or put by one.
    pub async fn resources_due(&self, now: Timestamp, limit: u32) -> Result<Vec<ResourceRecord>> {
        unfinished!(now, limit)
    }

    /// When the next periodic check of any candidate is due.
    pub async fn next_check_due(&self) -> Result<Option<Timestamp>> {
        unfinished!()
    }

    /// Puts a periodic check off (or forward) without checking, e.g. for `check_every: never` or a rate limit.
    /// Works before the resource has a scope.
    pub async fn set_next_check(&self, resource: ResourceId, due: Timestamp) -> Result<()> {
        unfinished!(resource, due)
    }

    /// Points the resource at the scope of its present configuration, creating that when missing.
    /// `config_hash` covers type, source and the type's own version; `shared` makes every resource of
    /// that hash use one history, otherwise the history is this resource's own. When the scope changed, jobs
    /// using the resource are requested to be scheduled. Returns the scope and whether it changed.
    pub async fn set_scope(
        &self,
        resource: ResourceId,
        config_hash: &str,
        shared: bool,
        now: Timestamp,
    ) -> Result<(ScopeId, bool)> {
        unfinished!(resource, config_hash, shared, now)
    }

    /// Active resources and types that use a scope.
    pub async fn resources_of_scope(&self, scope: ScopeId) -> Result<Vec<ResourceRecord>> {
        unfinished!(scope)
    }

    pub async fn check_state(&self, scope: ScopeId) -> Result<Option<CheckState>> {
        unfinished!(scope)
    }

    /// Records that a check began, unless one of the scope is running that began after `stale_before`.
    /// False when it was refused: the other one's result will serve.
    pub async fn start_check(
        &self,
        scope: ScopeId,
        build: Option<BuildId>,
        stale_before: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        unfinished!(scope, build, stale_before, now)
    }

    /// Records how a check ended and when the next periodic one is due (`None`: never).
    pub async fn finish_check(
        &self,
        scope: ScopeId,
        succeeded: bool,
        interval: Option<Duration>,
        now: Timestamp,
    ) -> Result<()> {
        unfinished!(scope, succeeded, interval, now)
    }

    /// Pins a resource to one of its versions, keeping a comment. False when there is no such version.
    pub async fn pin_version(
        &self,
        resource: ResourceId,
        version: VersionId,
        now: Timestamp,
    ) -> Result<bool> {
        unfinished!(resource, version, now)
    }

    /// Removes pin and comment. False when nothing was pinned.
    pub async fn unpin(&self, resource: ResourceId, now: Timestamp) -> Result<bool> {
        unfinished!(resource, now)
    }

    pub async fn set_pin_comment(&self, resource: ResourceId, comment: &str) -> Result<()> {
        unfinished!(resource, comment)
    }
}
