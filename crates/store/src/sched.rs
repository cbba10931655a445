//! What the scheduler, checks and retention read beyond the records of the aggregates.

use std::collections::BTreeMap;

use jb_model::{
    BuildId, ContainerHandle, JobId, PipelineId, ResourceId, ScopeId, Timestamp, Version,
    VersionId, VolumeHandle,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::sql::{Row, Tx, args, id_list};
use crate::store::transact;
use crate::{CheckState, Error, Result, ScopeVersion, Store};

/// A resource as a job that gets or puts it sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobResource {
    pub id: ResourceId,
    pub name: String,
    pub scope: Option<ScopeId>,
    /// A pin set through the API; the configuration's own pin is not here.
    pub pin: Option<Version>,
    pub check: CheckState,
    /// When the newest check build of the resource ended that has ended, with or without a scope.
    pub last_check_build_end: Option<Timestamp>,
}

/// A succeeded build with what it can vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchingBuild {
    pub build: BuildId,
    pub rerun_of: Option<BuildId>,
    /// By resource, without repeats; of one resource what the build made stands before what it used.
    pub versions: Vec<VouchedVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VouchedVersion {
    pub resource: ResourceId,
    /// In the resource's present scope.
    pub version: VersionId,
    pub enabled: bool,
}

/// Which succeeded builds of a job to list. Places are `(rerun_of or id, id)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vouching {
    pub job: JobId,
    /// Oldest first, instead of newest first.
    pub oldest_first: bool,
    /// Only builds beyond this place, in the direction of the list.
    pub beyond: Option<(BuildId, BuildId)>,
    /// Only builds that used or made this version.
    pub holding: Option<(ResourceId, VersionId)>,
    pub limit: u32,
}

/// A job with the build of it that ended last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestBuild {
    pub job: JobId,
    pub pipeline: PipelineId,
    pub build: BuildId,
}

/// The right to pass over a job, which only one server has at a time. Ends when it is dropped, also
/// when its server is gone.
pub struct JobTurn {
    /// Holds an advisory lock; a server that has the database to itself needs none.
    held: Option<(Tx, OwnedSemaphorePermit)>,
}

impl JobTurn {
    /// Gives the turn up at once, not only when the connection is used again.
    pub async fn end(self) -> Result<()> {
        match self.held {
            Some((tx, _permit)) => tx.commit().await.map(drop),
            None => Ok(()),
        }
    }
}

impl Store {
    /// Takes the turn for a job, unless another server has it. Waits while many turns are held: each holds a
    /// connection, and whoever holds one needs others for its work.
    pub async fn job_turn(&self, job: JobId) -> Result<Option<JobTurn>> {
        let Some(turns) = self.turns() else { return Ok(Some(JobTurn { held: None })) };
        let permit = turns.acquire_owned().await;
        let permit = permit.map_err(|error| Error::refused(format!("take a turn: {error}")))?;
        let mut tx = self.begin().await?;
        let sql = "SELECT CASE WHEN pg_try_advisory_xact_lock(7301, CAST($1 AS INTEGER)) THEN 1 ELSE 0 END AS taken";
        // Two jobs of the same number modulo 2^31 only take turns needlessly.
        let taken = tx.one(sql, args![job.0 & i64::from(i32::MAX)]).await?.req_bool("taken")?;
        Ok(taken.then_some(JobTurn { held: Some((tx, permit)) }))
    }

    /// The resources that a job gets or puts.
    pub async fn job_resources(&self, job: JobId) -> Result<Vec<JobResource>> {
        let rows = self
            .rows(
                "SELECT r.id, r.name, r.scope_id, r.pin_version, s.last_check_start, s.last_check_end,
                    COALESCE(s.last_check_succeeded, 0) AS last_check_succeeded, s.last_check_build_id, r.next_due,
                    (SELECT b.end_time FROM builds b WHERE b.resource_id = r.id AND b.completed = 1
                     ORDER BY b.id DESC LIMIT 1) AS build_end
                 FROM job_resources jr
                 JOIN resources r ON r.id = jr.resource_id
                 LEFT JOIN scopes s ON s.id = r.scope_id
                 WHERE jr.job_id = $1 AND r.active = 1 AND r.kind = 'resource'
                 ORDER BY r.id",
                args![job],
            )
            .await?;
        rows.iter().map(job_resource).collect()
    }

    /// The jobs that a job names in `passed`.
    pub async fn upstream_jobs(&self, job: JobId) -> Result<Vec<(JobId, String)>> {
        let rows = self
            .rows(
                "SELECT j.id, j.name FROM job_upstream u JOIN jobs j ON j.id = u.passed_job_id
                 WHERE u.job_id = $1 ORDER BY j.id",
                args![job],
            )
            .await?;
        rows.iter().map(|row| Ok((JobId(row.req_int("id")?), row.req_text("name")?))).collect()
    }

    /// Succeeded builds of a job with what they vouch for. Versions that a resource's present scope does not
    /// know are left out.
    pub async fn vouching_builds(&self, which: &Vouching) -> Result<Vec<VouchingBuild>> {
        let start = if which.oldest_first { i64::MIN } else { i64::MAX };
        let (sort, id) = which.beyond.map_or((start, start), |(sort, id)| (sort.0, id.0));
        let rows = match which.holding {
            None => {
                let sql = if which.oldest_first { OLDEST_FIRST } else { NEWEST_FIRST };
                self.rows(sql, args![which.job, sort, id, which.limit]).await?
            }
            Some((resource, version)) => {
                let sql = if which.oldest_first { OLDEST_HOLDING } else { NEWEST_HOLDING };
                self.rows(sql, args![which.job, sort, id, which.limit, resource, version]).await?
            }
        };
        let mut builds = Vec::with_capacity(rows.len());
        let mut places = BTreeMap::new();
        for row in &rows {
            let build = BuildId(row.req_int("id")?);
            places.insert(build, builds.len());
            let rerun_of = row.opt_int("rerun_of")?.map(BuildId);
            builds.push(VouchingBuild { build, rerun_of, versions: Vec::new() });
        }
        if builds.is_empty() {
            return Ok(builds);
        }
        let ids = id_list(places.keys().map(|build| build.0));
        for row in self.rows(VOUCHED_VERSIONS, args![ids]).await? {
            let build = BuildId(row.req_int("build_id")?);
            let place = places.get(&build).copied();
            let Some(found) = place.and_then(|place| builds.get_mut(place)) else { continue };
            let held = VouchedVersion {
                resource: ResourceId(row.req_int("resource_id")?),
                version: VersionId(row.req_int("version_id")?),
                enabled: !row.req_bool("disabled")?,
            };
            if !found.versions.contains(&held) {
                found.versions.push(held);
            }
        }
        Ok(builds)
    }

    /// Of the versions of the resource that builds of the job used, by whatever input, the one highest in the
    /// history, and the newest build that used it.
    pub async fn newest_used_by_job(
        &self,
        job: JobId,
        resource: ResourceId,
    ) -> Result<Option<(ScopeVersion, BuildId)>> {
        // From the top of the history down, which ends soon unless the job never used the resource.
        let row = self
            .row(
                "SELECT v.id, v.version, v.check_order,
                    (SELECT MAX(i.build_id) FROM build_inputs i
                     WHERE i.resource_id = r.id AND i.digest = v.digest AND i.job_id = $1) AS build_id,
                    CASE WHEN EXISTS (SELECT 1 FROM disabled_versions d
                        WHERE d.resource_id = r.id AND d.digest = v.digest) THEN 0 ELSE 1 END AS enabled
                 FROM resources r JOIN versions v ON v.scope_id = r.scope_id
                 WHERE r.id = $2 AND EXISTS (SELECT 1 FROM build_inputs i
                    WHERE i.resource_id = r.id AND i.digest = v.digest AND i.job_id = $1)
                 ORDER BY v.check_order DESC, v.id DESC LIMIT 1",
                args![job, resource],
            )
            .await?;
        row.map(|row| {
            let version = ScopeVersion {
                id: VersionId(row.req_int("id")?),
                version: row.req_version("version")?,
                check_order: row.req_int("check_order")?,
                enabled: row.req_bool("enabled")?,
            };
            Ok((version, BuildId(row.req_int("build_id")?)))
        })
        .transpose()
    }

    /// The job of the first pending build among a job and those sharing a serial group with it (not paused,
    /// with determined inputs).
    pub async fn first_pending_in_groups(&self, job: JobId) -> Result<Option<JobId>> {
        let row = self
            .row(
                "SELECT b.job_id FROM builds b JOIN jobs j ON j.id = b.job_id
                 WHERE b.completed = 0 AND b.status = 'pending' AND j.paused = 0 AND j.inputs_determined = 1
                    AND (j.id = $1 OR j.id IN (
                        SELECT other.job_id FROM job_serial_groups mine JOIN job_serial_groups other
                            ON other.pipeline_id = mine.pipeline_id AND other.name = mine.name
                        WHERE mine.job_id = $1))
                 ORDER BY b.sort_id, b.id LIMIT 1",
                args![job],
            )
            .await?;
        row.map(|row| row.req_int("job_id").map(JobId)).transpose()
    }

    /// Requests scheduling of active jobs that have pending builds and one of these resources as an input
    /// without `passed`. Writes nothing when there are none.
    pub async fn wake_waiting_jobs(&self, resources: &[ResourceId], now: Timestamp) -> Result<u64> {
        let rows = self
            .rows(
                "SELECT DISTINCT j.id FROM job_resources jr JOIN jobs j ON j.id = jr.job_id
                 WHERE jr.resource_id IN (SELECT value FROM json_each($1))
                    AND jr.trigger_kind > 0 AND jr.passed_only = 0 AND j.active = 1
                    AND EXISTS (SELECT 1 FROM builds b
                        WHERE b.job_id = j.id AND b.completed = 0 AND b.status = 'pending')
                 ORDER BY j.id",
                args![id_list(resources.iter().map(|resource| resource.0))],
            )
            .await?;
        for row in &rows {
            self.request_schedule(JobId(row.req_int("id")?), now).await?;
        }
        Ok(rows.len() as u64)
    }

    /// Jobs with pending builds that could be started, or were aborted, by id; where scheduling looks when a
    /// nudge may have been lost.
    pub async fn jobs_with_pending_builds(&self, limit: u32) -> Result<Vec<JobId>> {
        let rows = self
            .rows(
                "SELECT DISTINCT b.job_id FROM builds b
                 JOIN jobs j ON j.id = b.job_id JOIN pipelines p ON p.id = j.pipeline_id
                 WHERE b.completed = 0 AND b.status = 'pending' AND j.active = 1 AND p.archived = 0
                    AND (b.aborted = 1 OR (j.paused = 0 AND p.paused = 0))
                 ORDER BY b.job_id LIMIT $1",
                args![limit],
            )
            .await?;
        rows.iter().map(|row| row.req_int("job_id").map(JobId)).collect()
    }

    /// Pending builds of jobs that are inactive or of archived pipelines: nothing will start them.
    pub async fn stranded_builds(&self, limit: u32) -> Result<Vec<BuildId>> {
        let rows = self
            .rows(
                "SELECT b.id FROM builds b
                 JOIN jobs j ON j.id = b.job_id JOIN pipelines p ON p.id = j.pipeline_id
                 WHERE b.completed = 0 AND b.status = 'pending' AND (j.active = 0 OR p.archived = 1)
                 ORDER BY b.id LIMIT $1",
                args![limit],
            )
            .await?;
        rows.iter().map(|row| row.req_int("id").map(BuildId)).collect()
    }

    /// Whether an active job is triggered by the resource itself, not by what passed other jobs.
    pub async fn is_trigger(&self, resource: ResourceId) -> Result<bool> {
        let row = self
            .row(
                "SELECT 1 AS is_trigger FROM job_resources jr JOIN jobs j ON j.id = jr.job_id
                 WHERE jr.resource_id = $1 AND jr.trigger_kind = 2 AND j.active = 1 LIMIT 1",
                args![resource],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Sets when the next periodic checks of several resources are due, as [`Store::set_next_check`].
    pub async fn set_next_checks(&self, checks: &[(ResourceId, Timestamp)]) -> Result<()> {
        transact!(self, async |tx| {
            for (resource, due) in checks {
                let sql = "UPDATE resources SET next_due = $2 WHERE id = $1";
                tx.execute(sql, args![*resource, *due]).await?;
            }
            Ok(())
        })
    }

    /// Check builds of a resource that are not over, by id.
    pub async fn running_checks(&self, resource: ResourceId) -> Result<Vec<BuildId>> {
        let sql = "SELECT id FROM builds WHERE resource_id = $1 AND completed = 0 ORDER BY id";
        let rows = self.rows(sql, args![resource]).await?;
        rows.iter().map(|row| row.req_int("id").map(BuildId)).collect()
    }

    /// How many resources trigger jobs of running pipelines: what is checked all the time.
    pub async fn count_periodic_checks(&self) -> Result<u64> {
        let row = self
            .row(
                "SELECT COUNT(DISTINCT jr.resource_id) AS n FROM job_resources jr
                 JOIN jobs j ON j.id = jr.job_id JOIN pipelines p ON p.id = j.pipeline_id
                 WHERE jr.trigger_kind = 2 AND j.active = 1
                    AND p.paused = 0 AND p.archived = 0",
                args![],
            )
            .await?;
        row.map_or(Ok(0), |row| row.req_u64("n"))
    }

    /// The build of each job that ended last, for jobs not paused in pipelines not paused.
    pub async fn latest_builds(&self) -> Result<Vec<LatestBuild>> {
        let rows = self
            .rows(
                "SELECT j.id, j.pipeline_id, j.latest_build_id FROM jobs j
                 JOIN pipelines p ON p.id = j.pipeline_id
                 WHERE j.latest_build_id IS NOT NULL AND j.active = 1 AND j.paused = 0
                    AND p.paused = 0 AND p.archived = 0
                 ORDER BY j.id",
                args![],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LatestBuild {
                    job: JobId(row.req_int("id")?),
                    pipeline: PipelineId(row.req_int("pipeline_id")?),
                    build: BuildId(row.req_int("latest_build_id")?),
                })
            })
            .collect()
    }

    /// Containers of a worker, or of all, whose use is over at once: of checks that ended before `checked_before`, and of job builds that
    /// succeeded or are not their job's latest; never those hijacked since `hijacked_since`. At most `limit`.
    pub async fn finished_containers(
        &self,
        worker: Option<&str>,
        checked_before: Timestamp,
        hijacked_since: Timestamp,
        limit: u32,
    ) -> Result<Vec<ContainerHandle>> {
        let rows = self
            .rows(
                "SELECT c.handle FROM containers c JOIN builds b ON b.id = c.build_id
                 LEFT JOIN jobs j ON j.id = b.job_id
                 WHERE ($4 = '' OR c.worker = $4)
                 AND b.completed = 1 AND (c.last_hijack IS NULL OR c.last_hijack < $2) AND (
                     (b.resource_id IS NOT NULL AND b.end_time < $1)
                     OR (b.job_id IS NOT NULL
                         AND (b.status = 'succeeded' OR b.id <> COALESCE(j.latest_build_id, 0))))
                 ORDER BY c.created_at, c.handle LIMIT $3",
                args![checked_before, hijacked_since, limit, worker.unwrap_or_default()],
            )
            .await?;
        rows.iter().map(|row| row.req_text("handle").map(ContainerHandle)).collect()
    }

    /// Forgets the caches of tasks last used before `used_before`, and those of jobs that are gone, archived, or
    /// paused with nothing left to build; their volumes become collectable. Returns their number.
    pub async fn delete_stale_task_caches(&self, used_before: Timestamp) -> Result<u64> {
        transact!(self, async |tx| {
            tx.execute(
                "DELETE FROM task_caches WHERE last_used < $1 OR job_id IN (
                     SELECT j.id FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id
                     WHERE p.archived = 1 OR j.active = 0
                        OR ((p.paused = 1 OR j.paused = 1) AND j.next_build_id IS NULL))",
                args![used_before],
            )
            .await
        })
    }

    /// The handles of all containers recorded on a worker.
    pub async fn container_handles(&self, worker: &str) -> Result<Vec<ContainerHandle>> {
        let sql = "SELECT handle FROM containers WHERE worker = $1 ORDER BY handle";
        let rows = self.rows(sql, args![worker]).await?;
        rows.iter().map(|row| row.req_text("handle").map(ContainerHandle)).collect()
    }

    /// The handles of all volumes recorded on a worker.
    pub async fn volume_handles(&self, worker: &str) -> Result<Vec<VolumeHandle>> {
        let sql = "SELECT handle FROM volumes WHERE worker = $1 ORDER BY handle";
        let rows = self.rows(sql, args![worker]).await?;
        rows.iter().map(|row| row.req_text("handle").map(VolumeHandle)).collect()
    }
}

const NEWEST_FIRST: &str = "SELECT id, rerun_of FROM builds
    WHERE job_id = $1 AND status = 'succeeded' AND (sort_id, id) < ($2, $3)
    ORDER BY sort_id DESC, id DESC LIMIT $4";

const OLDEST_FIRST: &str = "SELECT id, rerun_of FROM builds
    WHERE job_id = $1 AND status = 'succeeded' AND (sort_id, id) > ($2, $3)
    ORDER BY sort_id, id LIMIT $4";

const NEWEST_HOLDING: &str = "SELECT id, rerun_of FROM builds
    WHERE job_id = $1 AND status = 'succeeded' AND (sort_id, id) < ($2, $3) AND id IN (
        SELECT i.build_id FROM build_inputs i JOIN versions v ON v.digest = i.digest
        WHERE i.resource_id = $5 AND v.id = $6
        UNION ALL
        SELECT o.build_id FROM build_outputs o JOIN versions v ON v.digest = o.digest
        WHERE o.resource_id = $5 AND v.id = $6)
    ORDER BY sort_id DESC, id DESC LIMIT $4";

const OLDEST_HOLDING: &str = "SELECT id, rerun_of FROM builds
    WHERE job_id = $1 AND status = 'succeeded' AND (sort_id, id) > ($2, $3) AND id IN (
        SELECT i.build_id FROM build_inputs i JOIN versions v ON v.digest = i.digest
        WHERE i.resource_id = $5 AND v.id = $6
        UNION ALL
        SELECT o.build_id FROM build_outputs o JOIN versions v ON v.digest = o.digest
        WHERE o.resource_id = $5 AND v.id = $6)
    ORDER BY sort_id, id LIMIT $4";

const VOUCHED_VERSIONS: &str = "SELECT h.build_id, h.resource_id, v.id AS version_id,
        CASE WHEN EXISTS (SELECT 1 FROM disabled_versions d
            WHERE d.resource_id = h.resource_id AND d.digest = h.digest) THEN 1 ELSE 0 END AS disabled
    FROM (SELECT build_id, resource_id, digest, 1 AS made FROM build_outputs
            WHERE build_id IN (SELECT value FROM json_each($1))
        UNION ALL
        SELECT build_id, resource_id, digest, 0 AS made FROM build_inputs
            WHERE build_id IN (SELECT value FROM json_each($1))) h
    JOIN resources r ON r.id = h.resource_id
    JOIN versions v ON v.scope_id = r.scope_id AND v.digest = h.digest
    ORDER BY h.build_id, h.resource_id, h.made DESC, v.id";

fn job_resource(row: &Row) -> Result<JobResource> {
    let pin = row.opt_json("pin_version")?;
    let pin = pin
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| Error::Stored { what: "pin_version", reason: error.to_string() })?;
    Ok(JobResource {
        id: ResourceId(row.req_int("id")?),
        name: row.req_text("name")?,
        scope: row.opt_int("scope_id")?.map(ScopeId),
        pin,
        check: CheckState {
            last_start: row.opt_time("last_check_start")?,
            last_end: row.opt_time("last_check_end")?,
            succeeded: row.req_bool("last_check_succeeded")?,
            last_build: row.opt_int("last_check_build_id")?.map(BuildId),
            next_due: row.opt_time("next_due")?,
        },
        last_check_build_end: row.opt_time("build_end")?,
    })
}
