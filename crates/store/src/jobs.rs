//! Jobs: listing, pausing, requests to schedule, and the inputs of the next build.

use jb_model::{
    BuildId, BuildStatus, JobId, PipelineId, ResourceId, TeamId, Timestamp, Value, VersionId,
};

use crate::page::visible_args;
use crate::pipelines::{inputs_of, names_of, outputs_of, pipeline_ref, pipeline_ref_columns};
use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::{Change, Error, PipelineRef, Result, Store, Visible};

macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, ",
            pipeline_ref_columns!(),
            ", p.paused AS pipeline_paused, p.archived AS pipeline_archived, j.name, j.paused,
             j.paused_by, j.paused_at, j.public, j.disable_manual_trigger, j.disable_reruns,
             j.max_in_flight, j.serial_groups, j.groups, j.inputs, j.outputs, j.has_new_inputs,
             j.inputs_determined, j.first_logged_build_id,
             nb.id AS next_id, nb.name AS next_name, nb.status AS next_status,
             nb.start_time AS next_start_time, nb.end_time AS next_end_time,
             lb.id AS latest_id, lb.name AS latest_name, lb.status AS latest_status,
             lb.start_time AS latest_start_time, lb.end_time AS latest_end_time,
             tb.id AS transition_id, tb.name AS transition_name, tb.status AS transition_status,
             tb.start_time AS transition_start_time, tb.end_time AS transition_end_time
             FROM jobs j JOIN pipelines p ON p.id = j.pipeline_id JOIN teams t ON t.id = p.team_id
             LEFT JOIN builds nb ON nb.id = j.next_build_id
             LEFT JOIN builds lb ON lb.id = j.latest_build_id
             LEFT JOIN builds tb ON tb.id = j.transition_build_id ",
            $rest
        )
    };
}

/// A build as shown inside a job or resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildBrief {
    pub id: BuildId,
    pub name: String,
    pub status: BuildStatus,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
}

/// A `get` anywhere in a job's plan.
#[derive(Clone, Debug, PartialEq)]
pub struct JobInput {
    pub name: String,
    pub resource: String,
    pub passed: Vec<String>,
    pub trigger: bool,
    /// `"latest"`, `"every"` or a version, as configured.
    pub version: Option<Value>,
}

/// A `put` anywhere in a job's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutput {
    pub name: String,
    pub resource: String,
}

/// A job with what its summary shows.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    pub id: JobId,
    pub pipeline: PipelineRef,
    pub pipeline_paused: bool,
    pub pipeline_archived: bool,
    pub name: String,
    pub paused: bool,
    pub paused_by: Option<String>,
    pub paused_at: Option<Timestamp>,
    pub public: bool,
    pub disable_manual_trigger: bool,
    pub disable_reruns: bool,
    /// 0 means no limit.
    pub max_in_flight: u32,
    pub serial_groups: Vec<String>,
    /// Names of the pipeline's groups that hold this job, in their order; globs are resolved.
    pub groups: Vec<String>,
    pub inputs: Vec<JobInput>,
    pub outputs: Vec<JobOutput>,
    pub has_new_inputs: bool,
    /// The oldest build that is pending or running.
    pub next_build: Option<BuildBrief>,
    /// The newest build that ended.
    pub finished_build: Option<BuildBrief>,
    /// The first build of the present run of equal statuses.
    pub transition_build: Option<BuildBrief>,
    /// Builds before this one have no log any more.
    pub first_logged_build: Option<BuildId>,
    /// Whether the resolver found versions for all inputs; see [`Store::next_inputs`].
    pub inputs_determined: bool,
}

/// A job whose scheduling was requested since it was last scheduled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueJob {
    pub job: JobId,
    pub pipeline: PipelineId,
    /// Hand this to [`Store::set_scheduled`] once done; requests that came meanwhile stay.
    pub requested: i64,
}

/// What the resolver found for one input of a job's next build.
#[derive(Clone, Debug, PartialEq)]
pub struct NextInput {
    pub name: String,
    pub resource: Option<ResourceId>,
    pub choice: NextInputChoice,
}

/// A version, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextInputChoice {
    Version { version: VersionId, first_occurrence: bool },
    Unresolved { reason: String },
}

impl Store {
    /// Jobs of all teams as far as visible, of pipelines that are not archived.
    pub async fn all_jobs(&self, visible: &Visible) -> Result<Vec<JobRecord>> {
        let sql = select_jobs!(
            "WHERE j.active = 1 AND p.archived = 0
             AND ($1 = 1 OR p.public = 1 OR p.team_id IN (SELECT value FROM json_each($2)))
             ORDER BY p.team_id, p.position, p.instance_position, p.id, j.position"
        );
        let (all, teams) = visible_args(visible);
        self.rows(sql, args![all, teams]).await?.iter().map(job_record).collect()
    }

    /// A team's jobs, of pipelines that are not archived.
    pub async fn team_jobs(&self, team: TeamId, public_only: bool) -> Result<Vec<JobRecord>> {
        let sql = select_jobs!(
            "WHERE p.team_id = $1 AND j.active = 1 AND p.archived = 0
             AND ($2 = 0 OR p.public = 1)
             ORDER BY p.position, p.instance_position, p.id, j.position"
        );
        self.rows(sql, args![team, public_only]).await?.iter().map(job_record).collect()
    }

    /// A pipeline's jobs in the order of its configuration.
    pub async fn pipeline_jobs(&self, pipeline: PipelineId) -> Result<Vec<JobRecord>> {
        let sql = select_jobs!("WHERE j.pipeline_id = $1 AND j.active = 1 ORDER BY j.position");
        self.rows(sql, args![pipeline]).await?.iter().map(job_record).collect()
    }

    pub async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        let row = self.row(select_jobs!("WHERE j.id = $1"), args![job]).await?;
        row.as_ref().map(job_record).transpose()
    }

    /// Finds an active job by name.
    pub async fn job_by_name(&self, pipeline: PipelineId, name: &str) -> Result<Option<JobRecord>> {
        let sql = select_jobs!("WHERE j.pipeline_id = $1 AND j.name = $2 AND j.active = 1");
        self.row(sql, args![pipeline, name]).await?.as_ref().map(job_record).transpose()
    }

    /// The job's part of the configuration as JSON; nothing when inactive or archived.
    pub async fn job_config(&self, job: JobId) -> Result<Option<Value>> {
        let sql = "SELECT config FROM jobs WHERE id = $1 AND active = 1";
        let Some(row) = self.row(sql, args![job]).await? else { return Ok(None) };
        row.opt_text("config")?.map(|stored| self.unsealed("jobs.config", stored)).transpose()
    }

    pub async fn pause_job(&self, job: JobId, by: &str, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            let done = tx
                .execute(
                    "UPDATE jobs SET paused = 1, paused_by = $2, paused_at = $3 WHERE id = $1",
                    args![job, by, now],
                )
                .await?;
            found(done, job)
        })
    }

    /// Unpauses and requests scheduling.
    pub async fn unpause_job(&self, job: JobId, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            let done = tx
                .execute(
                    "UPDATE jobs SET paused = 0, paused_by = NULL, paused_at = NULL WHERE id = $1",
                    args![job],
                )
                .await?;
            request_job(tx, job, now).await?;
            found(done, job)
        })
    }

    pub async fn request_schedule(&self, job: JobId, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| request_job(tx, job, now).await)
    }

    /// Active jobs whose scheduling is due, oldest request first, those of paused and archived pipelines too: their
    /// pending builds may have to be aborted.
    pub async fn jobs_to_schedule(&self, limit: u32) -> Result<Vec<DueJob>> {
        let sql = "SELECT id, pipeline_id, schedule_requested FROM jobs
                   WHERE schedule_requested > last_scheduled AND active = 1
                   ORDER BY schedule_requested, id LIMIT $1";
        self.rows(sql, args![limit]).await?.iter().map(due_job).collect()
    }

    /// One job's request, if it is due.
    pub async fn job_to_schedule(&self, job: JobId) -> Result<Option<DueJob>> {
        let sql = "SELECT id, pipeline_id, schedule_requested FROM jobs
                   WHERE id = $1 AND schedule_requested > last_scheduled AND active = 1";
        self.row(sql, args![job]).await?.as_ref().map(due_job).transpose()
    }

    /// Records that the request `requested` was served.
    pub async fn set_scheduled(&self, job: JobId, requested: i64) -> Result<()> {
        transact!(self, async |tx| {
            tx.execute(
                "UPDATE jobs SET last_scheduled = $2 WHERE id = $1 AND last_scheduled < $2",
                args![job, requested],
            )
            .await
            .map(drop)
        })
    }

    /// Replaces the inputs of the job's next build and the builds that vouched for them (`pipes`).
    /// `determined` says whether all inputs have a version.
    pub async fn save_next_inputs(
        &self,
        job: JobId,
        inputs: &[NextInput],
        pipes: &[BuildId],
        determined: bool,
        has_new_inputs: bool,
    ) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE jobs SET inputs_determined = $2, has_new_inputs = $3 WHERE id = $1";
            found(tx.execute(sql, args![job, determined, has_new_inputs]).await?, job)?;
            tx.execute("DELETE FROM next_inputs WHERE job_id = $1", args![job]).await?;
            tx.execute("DELETE FROM next_pipes WHERE job_id = $1", args![job]).await?;
            for input in inputs {
                let (version, first, reason) = match &input.choice {
                    NextInputChoice::Version { version, first_occurrence } => {
                        (Some(*version), *first_occurrence, "")
                    }
                    NextInputChoice::Unresolved { reason } => (None, false, reason.as_str()),
                };
                tx.execute(
                    "INSERT INTO next_inputs
                     (job_id, name, resource_id, version_id, first_occurrence, reason)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                    args![job, &input.name, input.resource, version, first, reason],
                )
                .await?;
            }
            for pipe in pipes {
                tx.execute(
                    "INSERT INTO next_pipes (job_id, from_build_id) VALUES ($1, $2)
                     ON CONFLICT (job_id, from_build_id) DO NOTHING",
                    args![job, *pipe],
                )
                .await?;
            }
            Ok(())
        })
    }

    /// The inputs of the job's next build as last resolved, by name, and whether all are determined.
    pub async fn next_inputs(&self, job: JobId) -> Result<(Vec<NextInput>, bool)> {
        let Some(row) =
            self.row("SELECT inputs_determined FROM jobs WHERE id = $1", args![job]).await?
        else {
            return Ok((Vec::new(), false));
        };
        let determined = row.req_bool("inputs_determined")?;
        let sql = "SELECT name, resource_id, version_id, first_occurrence, reason FROM next_inputs
                   WHERE job_id = $1 ORDER BY name";
        let rows = self.rows(sql, args![job]).await?;
        let inputs: Result<Vec<NextInput>> = rows.iter().map(next_input).collect();
        Ok((inputs?, determined))
    }

    /// The builds that vouched for the next inputs.
    pub async fn next_pipes(&self, job: JobId) -> Result<Vec<BuildId>> {
        let sql = "SELECT from_build_id FROM next_pipes WHERE job_id = $1 ORDER BY from_build_id";
        let rows = self.rows(sql, args![job]).await?;
        rows.iter().map(|row| row.req_int("from_build_id").map(BuildId)).collect()
    }
}

fn found(rows: u64, job: JobId) -> Result<()> {
    if rows == 0 { Err(Error::not_found("job", job)) } else { Ok(()) }
}

fn due_job(row: &Row) -> Result<DueJob> {
    Ok(DueJob {
        job: JobId(row.req_int("id")?),
        pipeline: PipelineId(row.req_int("pipeline_id")?),
        requested: row.req_int("schedule_requested")?,
    })
}

fn next_input(row: &Row) -> Result<NextInput> {
    let choice = match row.opt_int("version_id")? {
        Some(version) => NextInputChoice::Version {
            version: VersionId(version),
            first_occurrence: row.req_bool("first_occurrence")?,
        },
        None => NextInputChoice::Unresolved { reason: row.req_text("reason")? },
    };
    Ok(NextInput {
        name: row.req_text("name")?,
        resource: row.opt_int("resource_id")?.map(ResourceId),
        choice,
    })
}

/// What a status column says.
pub(crate) fn status(row: &Row, column: &'static str) -> Result<BuildStatus> {
    row.req_str(column)?.parse().map_err(|reason| Error::Stored { what: column, reason })
}

/// The columns of a joined build that may be missing.
pub(crate) struct BriefColumns {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) status: &'static str,
    pub(crate) start_time: &'static str,
    pub(crate) end_time: &'static str,
}

const NEXT: BriefColumns = BriefColumns {
    id: "next_id",
    name: "next_name",
    status: "next_status",
    start_time: "next_start_time",
    end_time: "next_end_time",
};
const LATEST: BriefColumns = BriefColumns {
    id: "latest_id",
    name: "latest_name",
    status: "latest_status",
    start_time: "latest_start_time",
    end_time: "latest_end_time",
};
const TRANSITION: BriefColumns = BriefColumns {
    id: "transition_id",
    name: "transition_name",
    status: "transition_status",
    start_time: "transition_start_time",
    end_time: "transition_end_time",
};

/// The joined build, if there is one.
pub(crate) fn brief(row: &Row, columns: &BriefColumns) -> Result<Option<BuildBrief>> {
    let Some(id) = row.opt_int(columns.id)? else { return Ok(None) };
    Ok(Some(BuildBrief {
        id: BuildId(id),
        name: row.req_text(columns.name)?,
        status: status(row, columns.status)?,
        start_time: row.opt_time(columns.start_time)?,
        end_time: row.opt_time(columns.end_time)?,
    }))
}

fn job_record(row: &Row) -> Result<JobRecord> {
    Ok(JobRecord {
        id: JobId(row.req_int("id")?),
        pipeline: pipeline_ref(row)?,
        pipeline_paused: row.req_bool("pipeline_paused")?,
        pipeline_archived: row.req_bool("pipeline_archived")?,
        name: row.req_text("name")?,
        paused: row.req_bool("paused")?,
        paused_by: row.opt_text("paused_by")?,
        paused_at: row.opt_time("paused_at")?,
        public: row.req_bool("public")?,
        disable_manual_trigger: row.req_bool("disable_manual_trigger")?,
        disable_reruns: row.req_bool("disable_reruns")?,
        max_in_flight: row.req_u32("max_in_flight")?,
        serial_groups: names_of(&row.req_json("serial_groups")?),
        groups: names_of(&row.req_json("groups")?),
        inputs: inputs_of(&row.req_json("inputs")?),
        outputs: outputs_of(&row.req_json("outputs")?),
        has_new_inputs: row.req_bool("has_new_inputs")?,
        next_build: brief(row, &NEXT)?,
        finished_build: brief(row, &LATEST)?,
        transition_build: brief(row, &TRANSITION)?,
        first_logged_build: row.opt_int("first_logged_build_id")?.map(BuildId),
        inputs_determined: row.req_bool("inputs_determined")?,
    })
}

/// Requests are numbered so that a later one is never taken for an earlier one, whatever the clock says; without
/// a time (0) they just count on.
macro_rules! request {
    ($rest:literal) => {
        concat!(
            "UPDATE jobs SET schedule_requested =
             CASE WHEN schedule_requested >= $2 THEN schedule_requested + 1 ELSE $2 END
             WHERE active = 1 AND ",
            $rest,
            " RETURNING id"
        )
    };
}

async fn request(
    tx: &mut Tx,
    sql: &'static str,
    of: impl Into<crate::sql::Arg<'_>>,
    now: Timestamp,
) -> Result<()> {
    for row in tx.rows(sql, &[of.into(), now.into()]).await? {
        tx.changed(Change::Job(JobId(row.req_int("id")?)));
    }
    Ok(())
}

/// Requests that a job be scheduled.
pub(crate) async fn request_job(tx: &mut Tx, job: JobId, now: Timestamp) -> Result<()> {
    request(tx, request!("id = $1"), job, now).await
}

/// Requests that all jobs of a pipeline be scheduled.
pub(crate) async fn request_all_jobs(
    tx: &mut Tx,
    pipeline: PipelineId,
    now: Timestamp,
) -> Result<()> {
    request(tx, request!("pipeline_id = $1"), pipeline, now).await
}

/// Requests a job, the jobs that follow it through `passed`, and those sharing a serial group with it.
pub(crate) async fn request_around(tx: &mut Tx, job: JobId, now: Timestamp) -> Result<()> {
    let sql = request!(
        "(id = $1 OR id IN (SELECT u.job_id FROM job_upstream u WHERE u.passed_job_id = $1)
         OR id IN (SELECT o.job_id FROM job_serial_groups g JOIN job_serial_groups o
                   ON o.pipeline_id = g.pipeline_id AND o.name = g.name WHERE g.job_id = $1))"
    );
    request(tx, sql, job, now).await
}

/// Requests the jobs that get a resource.
pub(crate) async fn request_users(tx: &mut Tx, resource: ResourceId, now: Timestamp) -> Result<()> {
    let sql = request!(
        "id IN (SELECT u.job_id FROM job_resources u WHERE u.resource_id = $1 AND u.trigger_kind > 0)"
    );
    request(tx, sql, resource, now).await
}

/// Requests the jobs that get any resource of a scope without `passed`.
pub(crate) async fn request_scope(
    tx: &mut Tx,
    scope: jb_model::ScopeId,
    now: Timestamp,
) -> Result<()> {
    let sql = request!(
        "id IN (SELECT u.job_id FROM job_resources u JOIN resources r ON r.id = u.resource_id
                WHERE r.scope_id = $1 AND r.active = 1 AND u.passed_only = 0)"
    );
    request(tx, sql, scope, now).await
}
