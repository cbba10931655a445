//! Creating builds.

use jb_model::{BuildId, JobId, PipelineId, ResourceId, TeamId, Timestamp, Value};

use super::{BuildRecord, NewCheckBuild, build_record};
use crate::dialect::Lock;
use crate::jobs::request_job;
use crate::sql::{Tx, args};
use crate::store::transact;
use crate::{Change, Error, Result, Store};

impl Store {
    /// A manually triggered pending build of a job, named by the job's counter.
    pub async fn create_job_build(
        &self,
        job: JobId,
        created_by: Option<&str>,
        now: Timestamp,
    ) -> Result<BuildRecord> {
        transact!(self, async |tx| {
            let new = next_of_job(tx, job, true).await?;
            let build = insert(tx, &NewBuild { created_by, ..new }, now).await?;
            request_job(tx, job, now).await?;
            Ok(build)
        })
    }

    /// Makes sure the scheduler has exactly one pending build of the job. True when it was created now.
    pub async fn ensure_pending_build(
        &self,
        job: JobId,
        now: Timestamp,
    ) -> Result<(BuildRecord, bool)> {
        transact!(self, async |tx| {
            tx.lock(Lock::Job(job.0)).await?;
            let sql = select_builds!(
                "WHERE b.job_id = $1 AND b.completed = 0 AND b.status = 'pending' AND b.manual = 0
                 AND b.rerun_of IS NULL AND b.aborted = 0 ORDER BY b.id LIMIT 1"
            );
            if let Some(row) = tx.row(sql, args![job]).await? {
                return Ok((build_record(&row)?, false));
            }
            let new = next_of_job(tx, job, false).await?;
            Ok((insert(tx, &new, now).await?, true))
        })
    }

    /// A rerun of a build, named `N.1`, `N.2`, ...; rerunning a rerun counts on the original.
    pub async fn create_rerun(
        &self,
        build: BuildId,
        created_by: Option<&str>,
        now: Timestamp,
    ) -> Result<BuildRecord> {
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "SELECT o.id, o.name, o.job_id, o.team_id, o.pipeline_id FROM builds b
                     JOIN builds o ON o.id = coalesce(b.rerun_of, b.id)
                     WHERE b.id = $1 AND o.job_id IS NOT NULL",
                    args![build],
                )
                .await?;
            let row = row.ok_or_else(|| Error::not_found("job build", build))?;
            let job = JobId(row.req_int("job_id")?);
            tx.lock(Lock::Job(job.0)).await?;
            let original = BuildId(row.req_int("id")?);
            let last = tx
                .one(
                    "SELECT coalesce(max(rerun_number), 0) AS number FROM builds
                     WHERE rerun_of = $1",
                    args![original],
                )
                .await?;
            let number = last.req_int("number")? + 1;
            let new = NewBuild {
                team: TeamId(row.req_int("team_id")?),
                pipeline: row.opt_int("pipeline_id")?.map(PipelineId),
                job: Some(job),
                resource: None,
                name: format!("{}.{number}", row.req_str("name")?),
                manual: true,
                created_by,
                plan: None,
                rerun: Some((original, number)),
            };
            let build = insert(tx, &new, now).await?;
            request_job(tx, job, now).await?;
            Ok(build)
        })
    }

    /// A started build of a given plan, outside any job; inside a pipeline when one is given.
    pub async fn create_started_build(
        &self,
        team: TeamId,
        pipeline: Option<PipelineId>,
        plan: &Value,
        created_by: Option<&str>,
        now: Timestamp,
    ) -> Result<BuildRecord> {
        transact!(self, async |tx| {
            let row = tx
                .one(
                    "UPDATE counters SET value = value + 1 WHERE name = 'one-off' RETURNING value",
                    &[],
                )
                .await?;
            let new = NewBuild {
                team,
                pipeline,
                job: None,
                resource: None,
                name: row.req_int("value")?.to_string(),
                manual: true,
                created_by,
                plan: Some(plan),
                rerun: None,
            };
            insert(tx, &new, now).await
        })
    }

    /// A build named `check`. Unless manual, an unfinished check build of the resource refuses it (`None`).
    pub async fn create_check_build(
        &self,
        check: NewCheckBuild<'_>,
        now: Timestamp,
    ) -> Result<Option<BuildRecord>> {
        transact!(self, async |tx| {
            tx.lock(Lock::Resource(check.resource.0)).await?;
            let row = tx
                .row(
                    "SELECT r.pipeline_id, p.team_id, (SELECT count(*) FROM builds b
                     WHERE b.resource_id = r.id AND b.completed = 0) AS n_running
                     FROM resources r JOIN pipelines p ON p.id = r.pipeline_id WHERE r.id = $1",
                    args![check.resource],
                )
                .await?;
            let row = row.ok_or_else(|| Error::not_found("resource", check.resource))?;
            if !check.manual && row.req_int("n_running")? > 0 {
                return Ok(None);
            }
            let new = NewBuild {
                team: TeamId(row.req_int("team_id")?),
                pipeline: Some(PipelineId(row.req_int("pipeline_id")?)),
                job: None,
                resource: Some(check.resource),
                name: "check".into(),
                manual: check.manual,
                created_by: check.created_by,
                plan: check.plan,
                rerun: None,
            };
            insert(tx, &new, now).await.map(Some)
        })
    }
}

/// A build to insert: pending, or started when it has a plan.
struct NewBuild<'a> {
    team: TeamId,
    pipeline: Option<PipelineId>,
    job: Option<JobId>,
    resource: Option<ResourceId>,
    name: String,
    manual: bool,
    created_by: Option<&'a str>,
    plan: Option<&'a Value>,
    rerun: Option<(BuildId, i64)>,
}

/// The job's next build by its counter, whose row is locked from here on.
async fn next_of_job(tx: &mut Tx, job: JobId, manual: bool) -> Result<NewBuild<'static>> {
    let row = tx
        .row(
            "UPDATE jobs SET build_number = build_number + 1 WHERE id = $1
             RETURNING build_number, pipeline_id,
             (SELECT p.team_id FROM pipelines p WHERE p.id = jobs.pipeline_id) AS team_id",
            args![job],
        )
        .await?;
    let row = row.ok_or_else(|| Error::not_found("job", job))?;
    Ok(NewBuild {
        team: TeamId(row.req_int("team_id")?),
        pipeline: Some(PipelineId(row.req_int("pipeline_id")?)),
        job: Some(job),
        resource: None,
        name: row.req_int("build_number")?.to_string(),
        manual,
        created_by: None,
        plan: None,
        rerun: None,
    })
}

async fn insert(tx: &mut Tx, new: &NewBuild<'_>, now: Timestamp) -> Result<BuildRecord> {
    let plan = new.plan.map(|plan| tx.sealed("builds.plan", plan)).transpose()?;
    let started = plan.is_some();
    let (rerun_of, rerun_number) = new.rerun.unzip();
    let row = tx
        .one(
            "INSERT INTO builds (team_id, pipeline_id, job_id, resource_id, name, status, manual,
             created_by, created_at, start_time, plan, rerun_of, rerun_number, sort_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, coalesce($12, 0))
             RETURNING id",
            args![
                new.team,
                new.pipeline,
                new.job,
                new.resource,
                &new.name,
                if started { "started" } else { "pending" },
                new.manual,
                new.created_by,
                now,
                started.then_some(now),
                plan,
                rerun_of,
                rerun_number.unwrap_or(0),
            ],
        )
        .await?;
    let id = BuildId(row.req_int("id")?);
    tx.execute("UPDATE builds SET sort_id = id WHERE id = $1 AND sort_id = 0", args![id]).await?;
    tx.execute("INSERT INTO build_runs (build_id) VALUES ($1)", args![id]).await?;
    if let Some(job) = new.job {
        super::run::update_next_build(tx, job).await?;
    }
    tx.changed(Change::Build(id));
    if started {
        tx.changed(Change::BuildQueued);
    } else if new.resource.is_some() {
        tx.changed(Change::CheckRequested);
    }
    build_record(&tx.one(select_builds!("WHERE b.id = $1"), args![id]).await?)
}
