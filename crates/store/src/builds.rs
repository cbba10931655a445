//! Builds: of jobs, one-off, and of checks.

use jb_model::{
    BuildId, BuildStatus, JobId, PipelineId, ResourceId, TeamId, Timestamp, Value, Version,
    VersionId,
};

use crate::jobs::status;
use crate::pipelines::opt_pipeline_ref;
use crate::sql::{Row, args};
use crate::store::transact;
use crate::{Error, PipelineRef, Result, Store};

macro_rules! select_builds {
    ($($rest:tt)*) => {
        concat!(
            "SELECT b.id, b.team_id, t.name AS team_name, ",
            $crate::pipelines::pipeline_ref_columns!(),
            ", b.job_id, j.name AS job_name, coalesce(j.public, 0) AS job_public, b.resource_id,
             r.name AS resource_name, b.name, b.status, b.manual, b.created_by, b.comment,
             b.created_at, b.start_time, b.end_time, b.reap_time, b.rerun_of,
             o.name AS rerun_of_name, b.rerun_number, b.aborted, b.drained,
             CASE WHEN b.plan IS NULL THEN 0 ELSE 1 END AS has_plan
             FROM builds b JOIN teams t ON t.id = b.team_id
             LEFT JOIN pipelines p ON p.id = b.pipeline_id LEFT JOIN jobs j ON j.id = b.job_id
             LEFT JOIN resources r ON r.id = b.resource_id LEFT JOIN builds o ON o.id = b.rerun_of ",
            $($rest)*
        )
    };
}
pub(crate) use select_builds;

mod create;
mod list;
mod logs;
mod run;

/// The build that a rerun repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunOf {
    pub id: BuildId,
    pub name: String,
}

/// A build with the names around it, without plan and log.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildRecord {
    pub id: BuildId,
    pub team_id: TeamId,
    pub team_name: String,
    /// None for one-off builds outside any pipeline.
    pub pipeline: Option<PipelineRef>,
    pub job_id: Option<JobId>,
    pub job_name: Option<String>,
    /// The job's `public`; false without a job.
    pub job_public: bool,
    /// For checks: what is checked.
    pub resource_id: Option<ResourceId>,
    pub resource_name: Option<String>,
    pub name: String,
    pub status: BuildStatus,
    /// Asked for by a person (or API call) and not by the scheduler.
    pub manual: bool,
    pub created_by: Option<String>,
    pub comment: String,
    pub created_at: Timestamp,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    /// When its log was removed.
    pub reap_time: Option<Timestamp>,
    pub rerun_of: Option<RerunOf>,
    pub rerun_number: u32,
    /// Someone asked for it to stop.
    pub aborted: bool,
    /// Its log was handed to the syslog drain.
    pub drained: bool,
    pub has_plan: bool,
}

/// A pending build in the order it may start.
#[derive(Clone, Debug, PartialEq)]
pub struct NextBuild {
    pub build: BuildRecord,
    /// A rerun's inputs are the original's; see [`Store::build_inputs`].
    pub is_rerun: bool,
}

/// A check with a row of its own.
#[derive(Clone, Copy, Debug)]
pub struct NewCheckBuild<'a> {
    pub resource: ResourceId,
    pub manual: bool,
    pub created_by: Option<&'a str>,
    /// The plan as JSON. With it the build is created started, without it pending.
    pub plan: Option<&'a Value>,
}

/// A version a build used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInput {
    pub name: String,
    pub resource: ResourceId,
    pub resource_name: String,
    pub pipeline: PipelineId,
    pub version_id: VersionId,
    pub version: Version,
    pub first_occurrence: bool,
}

/// A version a build made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOutput {
    pub name: String,
    pub resource: ResourceId,
    pub version_id: VersionId,
    pub version: Version,
}

/// What retention decides over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionBuild {
    pub id: BuildId,
    pub status: BuildStatus,
    pub end_time: Option<Timestamp>,
    pub drained: bool,
}

impl Store {
    pub async fn build(&self, build: BuildId) -> Result<Option<BuildRecord>> {
        let row = self.row(select_builds!("WHERE b.id = $1"), args![build]).await?;
        row.as_ref().map(build_record).transpose()
    }

    pub async fn build_by_name(&self, job: JobId, name: &str) -> Result<Option<BuildRecord>> {
        let sql = select_builds!("WHERE b.job_id = $1 AND b.name = $2");
        self.row(sql, args![job, name]).await?.as_ref().map(build_record).transpose()
    }

    /// The plan as JSON, once the build was started.
    pub async fn build_plan(&self, build: BuildId) -> Result<Option<Value>> {
        let row = self.row("SELECT plan FROM builds WHERE id = $1", args![build]).await?;
        let Some(stored) = row.map(|row| row.opt_text("plan")).transpose()?.flatten() else {
            return Ok(None);
        };
        self.unsealed("builds.plan", stored).map(Some)
    }

    pub async fn set_build_comment(&self, build: BuildId, comment: &str) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE builds SET comment = $2 WHERE id = $1";
            let done = tx.execute(sql, args![build, comment]).await?;
            if done == 0 { Err(Error::not_found("build", build)) } else { Ok(()) }
        })
    }

    /// The versions a build used, by name.
    pub async fn build_inputs(&self, build: BuildId) -> Result<Vec<BuildInput>> {
        let sql = "SELECT i.name, i.resource_id, r.name AS resource_name, r.pipeline_id,
                   i.version_id, v.version, i.first_occurrence
                   FROM build_inputs i JOIN resources r ON r.id = i.resource_id
                   JOIN versions v ON v.id = i.version_id WHERE i.build_id = $1 ORDER BY i.name";
        let rows = self.rows(sql, args![build]).await?;
        rows.iter()
            .map(|row| {
                Ok(BuildInput {
                    name: row.req_text("name")?,
                    resource: ResourceId(row.req_int("resource_id")?),
                    resource_name: row.req_text("resource_name")?,
                    pipeline: PipelineId(row.req_int("pipeline_id")?),
                    version_id: VersionId(row.req_int("version_id")?),
                    version: row.req_version("version")?,
                    first_occurrence: row.req_bool("first_occurrence")?,
                })
            })
            .collect()
    }

    /// The versions a build made, by name.
    pub async fn build_outputs(&self, build: BuildId) -> Result<Vec<BuildOutput>> {
        let sql = "SELECT o.name, o.resource_id, o.version_id, v.version FROM build_outputs o
                   JOIN versions v ON v.id = o.version_id
                   WHERE o.build_id = $1 ORDER BY o.name, o.version_id";
        let rows = self.rows(sql, args![build]).await?;
        rows.iter()
            .map(|row| {
                Ok(BuildOutput {
                    name: row.req_text("name")?,
                    resource: ResourceId(row.req_int("resource_id")?),
                    version_id: VersionId(row.req_int("version_id")?),
                    version: row.req_version("version")?,
                })
            })
            .collect()
    }

    /// Records a version a running build used that was not known at its start.
    pub async fn save_build_input(
        &self,
        build: BuildId,
        name: &str,
        resource: ResourceId,
        version: VersionId,
        first_occurrence: bool,
    ) -> Result<()> {
        transact!(self, async |tx| {
            let saved = tx
                .execute(SAVE_INPUT, args![build, name, resource, version, first_occurrence])
                .await?;
            if saved == 0 { Err(Error::not_found("version", version)) } else { Ok(()) }
        })
    }
}

/// Records a version as used by a build, under its content so that it is recognised in another scope.
const SAVE_INPUT: &str = "INSERT INTO build_inputs
    (build_id, name, resource_id, job_id, version_id, digest, first_occurrence)
    SELECT b.id, $2, $3, b.job_id, v.id, v.digest, $5 FROM builds b JOIN versions v ON v.id = $4
    WHERE b.id = $1
    ON CONFLICT (build_id, name) DO UPDATE SET resource_id = excluded.resource_id,
    version_id = excluded.version_id, digest = excluded.digest,
    first_occurrence = excluded.first_occurrence";

/// Reads rows of `select_builds!`.
pub(crate) fn build_records(rows: &[Row]) -> Result<Vec<BuildRecord>> {
    rows.iter().map(build_record).collect()
}

/// Reads a row of `select_builds!`.
pub(crate) fn build_record(row: &Row) -> Result<BuildRecord> {
    let rerun_of = match row.opt_int("rerun_of")? {
        Some(id) => Some(RerunOf { id: BuildId(id), name: row.req_text("rerun_of_name")? }),
        None => None,
    };
    Ok(BuildRecord {
        id: BuildId(row.req_int("id")?),
        team_id: TeamId(row.req_int("team_id")?),
        team_name: row.req_text("team_name")?,
        pipeline: opt_pipeline_ref(row)?,
        job_id: row.opt_int("job_id")?.map(JobId),
        job_name: row.opt_text("job_name")?,
        job_public: row.req_bool("job_public")?,
        resource_id: row.opt_int("resource_id")?.map(ResourceId),
        resource_name: row.opt_text("resource_name")?,
        name: row.req_text("name")?,
        status: status(row, "status")?,
        manual: row.req_bool("manual")?,
        created_by: row.opt_text("created_by")?,
        comment: row.req_text("comment")?,
        created_at: row.req_time("created_at")?,
        start_time: row.opt_time("start_time")?,
        end_time: row.opt_time("end_time")?,
        reap_time: row.opt_time("reap_time")?,
        rerun_of,
        rerun_number: row.req_u32("rerun_number")?,
        aborted: row.req_bool("aborted")?,
        drained: row.req_bool("drained")?,
        has_plan: row.req_bool("has_plan")?,
    })
}
