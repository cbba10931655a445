//! Containers: what they are for, so that they can be listed, hijacked and collected.

use jb_model::{
    BuildId, ContainerHandle, JobId, PipelineId, PlanId, ResourceId, TeamId, Timestamp,
};

use crate::{PipelineRef, Result, Store};

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerState {
    Creating,
    Created,
    Destroying,
    Failed,
}

impl ContainerState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Destroying => "destroying",
            Self::Failed => "failed",
        }
    }
}

/// A container to record before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewContainer {
    pub handle: ContainerHandle,
    pub team: TeamId,
    pub build: Option<BuildId>,
    pub plan: Option<PlanId>,
    /// Set for checks.
    pub resource: Option<ResourceId>,
    pub step_name: String,
    /// `check`, `get`, `put`, `task` or `run`.
    pub kind: String,
    /// Dotted attempt, empty outside `attempts`.
    pub attempt: String,
    pub worker: String,
    pub working_dir: String,
    pub user: String,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerRecord {
    pub handle: ContainerHandle,
    pub team_id: TeamId,
    pub team_name: String,
    pub pipeline: Option<PipelineRef>,
    pub job_id: Option<JobId>,
    pub job_name: Option<String>,
    pub build: Option<BuildId>,
    pub build_name: Option<String>,
    pub resource_id: Option<ResourceId>,
    pub resource_name: Option<String>,
    pub plan: Option<PlanId>,
    pub step_name: String,
    pub kind: String,
    pub attempt: String,
    pub worker: String,
    pub state: ContainerState,
    pub created_at: Timestamp,
    pub last_hijack: Option<Timestamp>,
    pub working_dir: String,
    pub user: String,
}

/// Which containers to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    pub team: Option<TeamId>,
    pub pipeline: Option<PipelineId>,
    pub job: Option<JobId>,
    pub job_name: Option<String>,
    pub build: Option<BuildId>,
    pub build_name: Option<String>,
    pub resource_name: Option<String>,
    pub kind: Option<String>,
    pub step_name: Option<String>,
    pub attempt: Option<String>,
}

impl Store {
    /// Records a container as being created; one of that handle stays as it is.
    pub async fn create_container(&self, container: &NewContainer, now: Timestamp) -> Result<()> {
        unfinished!(container, now)
    }

    /// Sets a container's state. False when there is none of that handle.
    pub async fn set_container_state(
        &self,
        handle: &ContainerHandle,
        state: ContainerState,
    ) -> Result<bool> {
        unfinished!(handle, state)
    }

    /// Records the user the step's process runs as and its directory, once known.
    pub async fn set_container_process(
        &self,
        handle: &ContainerHandle,
        working_dir: &str,
        user: &str,
    ) -> Result<()> {
        unfinished!(handle, working_dir, user)
    }

    pub async fn container(&self, handle: &ContainerHandle) -> Result<Option<ContainerRecord>> {
        unfinished!(handle)
    }

    /// Containers that match, newest first, at most `limit`.
    pub async fn containers(
        &self,
        filter: &ContainerFilter,
        limit: u32,
    ) -> Result<Vec<ContainerRecord>> {
        unfinished!(filter, limit)
    }

    /// Records that someone is inside, which keeps the container from being collected.
    pub async fn touch_hijacked(&self, handle: &ContainerHandle, now: Timestamp) -> Result<()> {
        unfinished!(handle, now)
    }

    /// Containers nobody needs: of builds that ended well before `ended_before` or otherwise before
    /// `failed_before` (their job's latest build keeps its containers until that time), of builds that are gone,
    /// of checks created before `checked_before`; never those hijacked since `hijacked_since`. At most `limit`.
    pub async fn collectable_containers(
        &self,
        ended_before: Timestamp,
        failed_before: Timestamp,
        checked_before: Timestamp,
        hijacked_since: Timestamp,
        limit: u32,
    ) -> Result<Vec<ContainerHandle>> {
        unfinished!(ended_before, failed_before, checked_before, hijacked_since, limit)
    }

    pub async fn delete_container(&self, handle: &ContainerHandle) -> Result<bool> {
        unfinished!(handle)
    }
}
