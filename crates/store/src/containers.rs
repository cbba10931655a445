//! Containers: what they are for, so that they can be listed, hijacked and collected.

use jb_model::{
    BuildId, ContainerHandle, JobId, PipelineId, PlanId, ResourceId, TeamId, Timestamp, Value,
};

use crate::pipelines::{opt_pipeline_ref, pipeline_ref_columns};
use crate::sql::{Row, args};
use crate::store::transact;
use crate::{Error, PipelineRef, Result, Store};

macro_rules! select_containers {
    ($rest:literal) => {
        concat!(
            "SELECT c.handle, c.team_id, coalesce(t.name, '') AS team_name, ",
            pipeline_ref_columns!(),
            ", b.job_id, j.name AS job_name, c.build_id, b.name AS build_name, c.resource_id,
             r.name AS resource_name, c.plan_id, c.step_name, c.kind, c.attempt, c.worker, c.state,
             c.created_at, c.last_hijack, c.working_dir, c.user_name
             FROM containers c LEFT JOIN teams t ON t.id = c.team_id
             LEFT JOIN builds b ON b.id = c.build_id LEFT JOIN jobs j ON j.id = b.job_id
             LEFT JOIN resources r ON r.id = c.resource_id
             LEFT JOIN pipelines p ON p.id = coalesce(b.pipeline_id, r.pipeline_id) ",
            $rest
        )
    };
}

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
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO containers (handle, team_id, build_id, resource_id, plan_id, step_name,
                 kind, attempt, worker, state, created_at, working_dir, user_name)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'creating', $10, $11, $12)
                 ON CONFLICT (handle) DO NOTHING",
                args![
                    container.handle.as_str(),
                    container.team,
                    container.build,
                    container.resource,
                    container.plan.as_ref().map(PlanId::as_str),
                    &container.step_name,
                    &container.kind,
                    &container.attempt,
                    &container.worker,
                    now,
                    &container.working_dir,
                    &container.user,
                ],
            )
            .await
            .map(drop)
        })
    }

    /// Sets a container's state. False when there is none of that handle.
    pub async fn set_container_state(
        &self,
        handle: &ContainerHandle,
        state: ContainerState,
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let sql = "UPDATE containers SET state = $2 WHERE handle = $1";
            Ok(tx.execute(sql, args![handle.as_str(), state.as_str()]).await? > 0)
        })
    }

    /// Keeps what the step's process is started with, such as its environment, sealed.
    pub async fn set_container_process(
        &self,
        handle: &ContainerHandle,
        process: &Value,
    ) -> Result<()> {
        transact!(self, async |tx| {
            let sealed = tx.sealed("containers.process", process)?;
            let sql = "UPDATE containers SET process = $2 WHERE handle = $1";
            tx.execute(sql, args![handle.as_str(), sealed]).await.map(drop)
        })
    }

    /// What [`Store::set_container_process`] kept.
    pub async fn container_process(&self, handle: &ContainerHandle) -> Result<Option<Value>> {
        let sql = "SELECT process FROM containers WHERE handle = $1";
        let row = self.row(sql, args![handle.as_str()]).await?;
        let sealed = row.map(|row| row.opt_text("process")).transpose()?.flatten();
        sealed.map(|sealed| self.unsealed("containers.process", sealed)).transpose()
    }

    pub async fn container(&self, handle: &ContainerHandle) -> Result<Option<ContainerRecord>> {
        let row =
            self.row(select_containers!("WHERE c.handle = $1"), args![handle.as_str()]).await?;
        row.as_ref().map(container_record).transpose()
    }

    /// Containers that match, newest first, at most `limit`.
    pub async fn containers(
        &self,
        filter: &ContainerFilter,
        limit: u32,
    ) -> Result<Vec<ContainerRecord>> {
        let sql = select_containers!(
            "WHERE ($1 IS NULL OR c.team_id = $1) AND ($2 IS NULL OR p.id = $2)
             AND ($3 IS NULL OR b.job_id = $3) AND ($4 IS NULL OR j.name = $4)
             AND ($5 IS NULL OR c.build_id = $5) AND ($6 IS NULL OR b.name = $6)
             AND ($7 IS NULL OR r.name = $7) AND ($8 IS NULL OR c.kind = $8)
             AND ($9 IS NULL OR c.step_name = $9) AND ($10 IS NULL OR c.attempt = $10)
             ORDER BY c.created_at DESC, c.handle LIMIT $11"
        );
        let rows = self
            .rows(
                sql,
                args![
                    filter.team,
                    filter.pipeline,
                    filter.job,
                    filter.job_name.as_deref(),
                    filter.build,
                    filter.build_name.as_deref(),
                    filter.resource_name.as_deref(),
                    filter.kind.as_deref(),
                    filter.step_name.as_deref(),
                    filter.attempt.as_deref(),
                    limit,
                ],
            )
            .await?;
        rows.iter().map(container_record).collect()
    }

    /// Records that someone is inside, which keeps the container from being collected.
    pub async fn touch_hijacked(&self, handle: &ContainerHandle, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE containers SET last_hijack = $2 WHERE handle = $1";
            tx.execute(sql, args![handle.as_str(), now]).await.map(drop)
        })
    }

    /// Containers of a worker, or of all, that nobody needs, at most `limit`: marked as destroying; of builds that are gone; of builds that
    /// ended before `ended_before`, where unsuccessful ones that are their job's newest, or have no job, are
    /// kept until `failed_before`; of checks without a build created before `checked_before`. Never those
    /// hijacked since `hijacked_since`.
    pub async fn collectable_containers(
        &self,
        worker: Option<&str>,
        ended_before: Timestamp,
        failed_before: Timestamp,
        checked_before: Timestamp,
        hijacked_since: Timestamp,
        limit: u32,
    ) -> Result<Vec<ContainerHandle>> {
        let rows = self
            .rows(
                "SELECT c.handle FROM containers c LEFT JOIN builds b ON b.id = c.build_id
                 LEFT JOIN jobs j ON j.id = b.job_id
                 WHERE ($6 = '' OR c.worker = $6) AND (c.last_hijack IS NULL OR c.last_hijack < $4) AND (
                     c.state = 'destroying'
                     OR (c.build_id IS NOT NULL AND b.id IS NULL)
                     OR (b.completed = 1 AND b.end_time < $2)
                     OR (b.completed = 1 AND b.end_time < $1
                         AND (b.status = 'succeeded' OR b.id <> j.latest_build_id))
                     OR (c.build_id IS NULL AND c.created_at < $3))
                 ORDER BY c.created_at, c.handle LIMIT $5",
                args![
                    ended_before,
                    failed_before,
                    checked_before,
                    hijacked_since,
                    limit,
                    worker.unwrap_or_default()
                ],
            )
            .await?;
        rows.iter().map(|row| row.req_text("handle").map(ContainerHandle)).collect()
    }

    /// The containers on a worker whose builds are over.
    pub async fn containers_of_ended_builds(&self, worker: &str) -> Result<Vec<ContainerHandle>> {
        let sql = "SELECT c.handle FROM containers c JOIN builds b ON b.id = c.build_id
                   WHERE c.worker = $1 AND b.completed = 1 ORDER BY c.handle";
        let rows = self.rows(sql, args![worker]).await?;
        rows.iter().map(|row| row.req_text("handle").map(ContainerHandle)).collect()
    }

    /// Forgets a container, and what its process was started with.
    pub async fn delete_container(&self, handle: &ContainerHandle) -> Result<bool> {
        transact!(self, async |tx| {
            let sql = "DELETE FROM containers WHERE handle = $1";
            Ok(tx.execute(sql, args![handle.as_str()]).await? > 0)
        })
    }
}

fn state(row: &Row) -> Result<ContainerState> {
    let text = row.req_str("state")?;
    let states = [
        ContainerState::Creating,
        ContainerState::Created,
        ContainerState::Destroying,
        ContainerState::Failed,
    ];
    states
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| Error::Stored { what: "containers.state", reason: text.into() })
}

fn container_record(row: &Row) -> Result<ContainerRecord> {
    Ok(ContainerRecord {
        handle: ContainerHandle(row.req_text("handle")?),
        team_id: TeamId(row.req_int("team_id")?),
        team_name: row.req_text("team_name")?,
        pipeline: opt_pipeline_ref(row)?,
        job_id: row.opt_int("job_id")?.map(JobId),
        job_name: row.opt_text("job_name")?,
        build: row.opt_int("build_id")?.map(BuildId),
        build_name: row.opt_text("build_name")?,
        resource_id: row.opt_int("resource_id")?.map(ResourceId),
        resource_name: row.opt_text("resource_name")?,
        plan: row.opt_text("plan_id")?.map(PlanId),
        step_name: row.req_text("step_name")?,
        kind: row.req_text("kind")?,
        attempt: row.req_text("attempt")?,
        worker: row.req_text("worker")?,
        state: state(row)?,
        created_at: row.req_time("created_at")?,
        last_hijack: row.opt_time("last_hijack")?,
        working_dir: row.req_text("working_dir")?,
        user: row.req_text("user_name")?,
    })
}
