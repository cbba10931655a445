//! The life of a build: when it may start, its start, its end.

use jb_model::{BuildId, BuildStatus, JobId, Timestamp, Value};

use super::{BuildInput, BuildRecord, NextBuild, build_record, build_records};
use crate::dialect::Lock;
use crate::jobs::{request_around, request_job};
use crate::pipelines::archive_unset;
use crate::sql::{Tx, args};
use crate::store::transact;
use crate::{Change, Error, Fence, Result, Store};

impl Store {
    /// A job's pending builds in the order they may start: by (rerun_of or id), then id.
    pub async fn pending_builds(&self, job: JobId) -> Result<Vec<NextBuild>> {
        let sql = select_builds!(
            "WHERE b.job_id = $1 AND b.completed = 0 AND b.status = 'pending'
             ORDER BY b.sort_id, b.id"
        );
        let rows = self.rows(sql, args![job]).await?;
        rows.iter()
            .map(|row| {
                let build = build_record(row)?;
                Ok(NextBuild { is_rerun: build.rerun_of.is_some(), build })
            })
            .collect()
    }

    /// Check builds that were created without a plan and wait for one, oldest first.
    pub async fn pending_checks(&self, limit: u32) -> Result<Vec<BuildRecord>> {
        let sql = select_builds!(
            "WHERE b.completed = 0 AND b.status = 'pending' AND b.job_id IS NULL
             AND b.resource_id IS NOT NULL ORDER BY b.id LIMIT $1"
        );
        build_records(&self.rows(sql, args![limit]).await?)
    }

    /// Whether a pending build is next among its job and the jobs sharing a serial group with it (those not
    /// paused and with determined inputs), and fewer than `max_in_flight` of their builds run.
    /// Always true when `max_in_flight` is 0.
    pub async fn may_start(&self, build: BuildId, max_in_flight: u32) -> Result<bool> {
        if max_in_flight == 0 {
            return Ok(true);
        }
        transact!(self, async |tx| {
            let sql = "SELECT job_id FROM builds WHERE id = $1 AND status = 'pending'";
            let Some(row) = tx.row(sql, args![build]).await? else { return Ok(false) };
            let Some(job) = row.opt_int("job_id")?.map(JobId) else { return Ok(true) };
            has_slot(tx, build, job, max_in_flight).await
        })
    }

    /// How many started builds the job and the jobs sharing a serial group with it have.
    pub async fn running_in_groups(&self, job: JobId) -> Result<u64> {
        let row = self.row(RUNNING, args![job]).await?;
        row.map_or(Ok(0), |row| row.req_u64("n_running"))
    }

    /// Claims a slot for a pending build under its job's limits, adopts the given inputs (and the builds that
    /// vouched for them), saves the plan and sets it started, all at once. False when the build is not
    /// pending or aborted any more, or the limit would be broken: look again.
    pub async fn start_build(
        &self,
        build: BuildId,
        plan: &Value,
        inputs: &[BuildInput],
        pipes: &[BuildId],
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "SELECT b.job_id, b.pipeline_id, coalesce(j.max_in_flight, 0) AS max_in_flight
                     FROM builds b LEFT JOIN jobs j ON j.id = b.job_id WHERE b.id = $1",
                    args![build],
                )
                .await?;
            let row = row.ok_or_else(|| Error::not_found("build", build))?;
            if let Some(pipeline) = row.opt_int("pipeline_id")? {
                tx.lock(Lock::PipelineBuilds(pipeline)).await?;
            }
            let job = row.opt_int("job_id")?.map(JobId);
            let limit = row.req_u32("max_in_flight")?;
            if let Some(job) = job
                && limit > 0
                && !has_slot(tx, build, job, limit).await?
            {
                return Ok(false);
            }
            let sealed = tx.sealed("builds.plan", plan)?;
            let started = tx
                .execute(
                    "UPDATE builds SET status = 'started', start_time = $2, plan = $3
                     WHERE id = $1 AND status = 'pending' AND aborted = 0",
                    args![build, now, sealed],
                )
                .await?;
            if started == 0 {
                return Ok(false);
            }
            adopt(tx, build, inputs, pipes).await?;
            if let Some(job) = job {
                update_next_build(tx, job).await?;
            }
            tx.changed(Change::Build(build));
            tx.changed(Change::BuildQueued);
            Ok(true)
        })
    }

    /// Ends a build that is not over. Updates its job's latest, next and transition builds, requests scheduling
    /// of the job and of the jobs downstream, and after success archives pipelines that an earlier build of
    /// the job set and this one did not. False when it was over already: nothing is changed then.
    pub async fn finish_build(
        &self,
        build: BuildId,
        status: BuildStatus,
        fence: Option<Fence>,
        now: Timestamp,
    ) -> Result<bool> {
        if !status.is_final() {
            return Err(Error::refused(format!("a build cannot end as {status}")));
        }
        transact!(self, async |tx| {
            let sql = "SELECT job_id, completed FROM builds WHERE id = $1";
            let Some(row) = tx.row(sql, args![build]).await? else {
                return Err(Error::not_found("build", build));
            };
            if row.req_bool("completed")? {
                return Ok(false);
            }
            let job = row.opt_int("job_id")?.map(JobId);
            if let Some(job) = job {
                tx.lock(Lock::Job(job.0)).await?;
            }
            // Ended over the driver's head, the driver loses its lease; else it may still append.
            let held = tx
                .execute(
                    "UPDATE build_runs SET owner = NULL, expires_at = 0,
                     fence = CASE WHEN $2 IS NULL THEN fence + 1 ELSE fence END
                     WHERE build_id = $1 AND ($2 IS NULL OR fence = $2)",
                    args![build, fence.map(|fence| fence.0)],
                )
                .await?;
            if held == 0 {
                return Err(Error::FenceLost { build: build.0 });
            }
            let ended = tx
                .execute(
                    "UPDATE builds SET status = $2, completed = 1, end_time = $3
                     WHERE id = $1 AND completed = 0",
                    args![build, status.as_str(), now],
                )
                .await?;
            if ended == 0 {
                return Ok(false);
            }
            tx.execute("DELETE FROM build_vars WHERE build_id = $1", args![build]).await?;
            crate::approvals::withdraw(tx, build, now).await?;
            if let Some(job) = job {
                update_next_build(tx, job).await?;
                update_latest_build(tx, job, build).await?;
                if status == BuildStatus::Succeeded {
                    archive_unset(tx, job, build, now).await?;
                }
                request_around(tx, job, now).await?;
            }
            tx.changed(Change::Build(build));
            Ok(true)
        })
    }

    /// Marks a build as to be stopped. False when it is over.
    pub async fn abort_build(&self, build: BuildId, now: Timestamp) -> Result<bool> {
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "UPDATE builds SET aborted = 1 WHERE id = $1 AND completed = 0
                     RETURNING job_id, status",
                    args![build],
                )
                .await?;
            let Some(row) = row else { return Ok(false) };
            if let Some(job) = row.opt_int("job_id")?.map(JobId)
                && row.req_str("status")? == "pending"
            {
                request_job(tx, job, now).await?;
            }
            tx.changed(Change::Build(build));
            tx.changed(Change::BuildQueued);
            Ok(true)
        })
    }
}

/// Running builds of a job and of the jobs sharing a serial group with it.
const RUNNING: &str = "SELECT count(*) AS n_running FROM builds b
    WHERE b.completed = 0 AND b.status = 'started' AND (b.job_id = $1 OR b.job_id IN (
        SELECT o.job_id FROM job_serial_groups g JOIN job_serial_groups o
        ON o.pipeline_id = g.pipeline_id AND o.name = g.name WHERE g.job_id = $1))";

/// The oldest pending build of those jobs, as far as they are not paused and know their inputs.
const OLDEST: &str = "SELECT b.id FROM builds b JOIN jobs j ON j.id = b.job_id
    WHERE b.completed = 0 AND b.status = 'pending' AND j.active = 1 AND j.paused = 0
    AND (j.inputs_determined = 1 OR b.rerun_of IS NOT NULL)
    AND (b.job_id = $1 OR b.job_id IN (
        SELECT o.job_id FROM job_serial_groups g JOIN job_serial_groups o
        ON o.pipeline_id = g.pipeline_id AND o.name = g.name WHERE g.job_id = $1))
    ORDER BY b.sort_id, b.id LIMIT 1";

/// Whether a pending build is next and below the limit.
async fn has_slot(tx: &mut Tx, build: BuildId, job: JobId, limit: u32) -> Result<bool> {
    let oldest = tx.row(OLDEST, args![job]).await?;
    if oldest.map(|row| row.req_int("id")).transpose()? != Some(build.0) {
        return Ok(false);
    }
    let running = tx.one(RUNNING, args![job]).await?.req_int("n_running")?;
    Ok(running < i64::from(limit))
}

/// Records what a build starts with.
async fn adopt(
    tx: &mut Tx,
    build: BuildId,
    inputs: &[BuildInput],
    pipes: &[BuildId],
) -> Result<()> {
    for input in inputs {
        let saved = tx
            .execute(
                super::SAVE_INPUT,
                args![build, &input.name, input.resource, input.version_id, input.first_occurrence],
            )
            .await?;
        if saved == 0 {
            return Err(Error::not_found("version", input.version_id));
        }
    }
    for pipe in pipes {
        tx.execute(
            "INSERT INTO build_pipes (to_build_id, from_build_id) VALUES ($1, $2)
             ON CONFLICT (to_build_id, from_build_id) DO NOTHING",
            args![build, *pipe],
        )
        .await?;
    }
    Ok(())
}

/// Points the job at its oldest build that is not over.
pub(super) async fn update_next_build(tx: &mut Tx, job: JobId) -> Result<()> {
    tx.execute(
        "UPDATE jobs SET next_build_id = (SELECT b.id FROM builds b WHERE b.job_id = $1
         AND b.completed = 0 ORDER BY b.sort_id, b.id LIMIT 1) WHERE id = $1",
        args![job],
    )
    .await
    .map(drop)
}

/// Points the job at its newest ended build, and at the first of the present run of equal statuses.
async fn update_latest_build(tx: &mut Tx, job: JobId, ended: BuildId) -> Result<()> {
    let former = tx
        .one(
            "SELECT j.transition_build_id, l.status FROM jobs j
             LEFT JOIN builds l ON l.id = j.latest_build_id WHERE j.id = $1",
            args![job],
        )
        .await?;
    let newest = tx
        .one(
            "SELECT id, status, sort_id FROM builds WHERE job_id = $1 AND completed = 1
             ORDER BY sort_id DESC, id DESC LIMIT 1",
            args![job],
        )
        .await?;
    let newest_id = newest.req_int("id")?;
    let transition = if newest_id != ended.0 {
        // It ended out of order and may have split or joined a run.
        first_of_run(tx, job, newest.req_str("status")?).await?
    } else if former.opt_str("status")? == Some(newest.req_str("status")?) {
        former.opt_int("transition_build_id")?.unwrap_or(newest_id)
    } else {
        newest_id
    };
    tx.execute(
        "UPDATE jobs SET latest_build_id = $2, transition_build_id = $3 WHERE id = $1",
        args![job, newest_id, transition],
    )
    .await
    .map(drop)
}

async fn first_of_run(tx: &mut Tx, job: JobId, status: &str) -> Result<i64> {
    let other = tx
        .row(
            "SELECT sort_id, id FROM builds WHERE job_id = $1 AND completed = 1 AND status <> $2
             ORDER BY sort_id DESC, id DESC LIMIT 1",
            args![job, status],
        )
        .await?;
    let (sort_id, id) = match other {
        Some(row) => (row.req_int("sort_id")?, row.req_int("id")?),
        None => (0, 0),
    };
    let first = tx
        .one(
            "SELECT id FROM builds WHERE job_id = $1 AND completed = 1
             AND (sort_id > $2 OR (sort_id = $2 AND id > $3)) ORDER BY sort_id, id LIMIT 1",
            args![job, sort_id, id],
        )
        .await?;
    first.req_int("id")
}
