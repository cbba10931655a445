//! Pipelines: their configuration, order, pausing, publishing, archiving.

use jb_model::{BuildId, JobId, Object, PipelineId, TeamId, Timestamp, Value};

use crate::jobs::request_all_jobs;
use crate::page::visible_args;
use crate::seal::hex_digest;
use crate::sql::{Row, args};
use crate::store::transact;
use crate::{Change, Error, Result, Store, Visible};

mod archive;
mod order;
mod save;
mod shape;

pub use archive::ARCHIVER;
pub(crate) use archive::archive_unset;
pub(crate) use shape::{inputs_of, names_of, outputs_of};

macro_rules! select_pipelines {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.team_id, t.name AS team_name, p.name, p.instance_vars, p.version, p.groups,
             p.display, p.user_data, p.paused, p.paused_by, p.paused_at, p.public, p.archived, p.last_updated,
             p.parent_job_id, p.parent_build_id
             FROM pipelines p JOIN teams t ON t.id = p.team_id ",
            $rest
        )
    };
}

/// What names a pipeline, carried by everything that belongs to one.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineRef {
    pub id: PipelineId,
    pub team_id: TeamId,
    pub team_name: String,
    pub name: String,
    /// Empty for a pipeline without instances.
    pub instance_vars: Object,
    pub public: bool,
}

/// A pipeline without its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineRecord {
    pub id: PipelineId,
    pub team_id: TeamId,
    pub team_name: String,
    pub name: String,
    pub instance_vars: Object,
    /// Grows with every save; 0 while archived.
    pub config_version: i64,
    /// The `groups` of the configuration, an array.
    pub groups: Value,
    /// The `display` of the configuration.
    pub display: Option<Value>,
    /// The `user_data` of the configuration, anything but null.
    pub user_data: Option<Value>,
    pub paused: bool,
    pub paused_by: Option<String>,
    pub paused_at: Option<Timestamp>,
    pub public: bool,
    pub archived: bool,
    pub last_updated: Timestamp,
    /// The job and build whose `set_pipeline` step saved it last.
    pub parent_job: Option<JobId>,
    pub parent_build: Option<BuildId>,
}

impl PipelineRecord {
    pub fn as_ref(&self) -> PipelineRef {
        PipelineRef {
            id: self.id,
            team_id: self.team_id,
            team_name: self.team_name.clone(),
            name: self.name.clone(),
            instance_vars: self.instance_vars.clone(),
            public: self.public,
        }
    }
}

/// A configuration to save.
#[derive(Clone, Copy, Debug)]
pub struct SavePipeline<'a> {
    pub team: TeamId,
    pub name: &'a str,
    pub instance_vars: &'a Object,
    /// The validated pipeline configuration as JSON.
    pub config: &'a Value,
    /// The version the caller read; `Some(0)` fits only a pipeline that does not exist or is archived,
    /// `None` saves over whatever is there.
    pub from_version: Option<i64>,
    /// Whether a pipeline that is new, or revived from the archive, is paused.
    pub initially_paused: bool,
    /// The job and build that run the `set_pipeline` step.
    pub set_by: Option<(JobId, BuildId)>,
}

/// What saving a configuration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveOutcome {
    Created {
        pipeline: PipelineId,
        version: i64,
    },
    Updated {
        pipeline: PipelineId,
        version: i64,
    },
    /// A newer build set the pipeline already; nothing was saved.
    SetByNewerBuild {
        pipeline: PipelineId,
    },
}

impl Store {
    pub async fn pipeline(&self, pipeline: PipelineId) -> Result<Option<PipelineRecord>> {
        let row = self.row(select_pipelines!("WHERE p.id = $1"), args![pipeline]).await?;
        row.as_ref().map(pipeline_record).transpose()
    }

    /// Finds one instance of a pipeline by names; the team's without regard to case.
    pub async fn find_pipeline(
        &self,
        team: &str,
        name: &str,
        instance_vars: &Object,
    ) -> Result<Option<PipelineRecord>> {
        let sql = select_pipelines!(
            "WHERE lower(t.name) = lower($1) AND p.name = $2 AND p.instance_digest = $3"
        );
        let row = self.row(sql, args![team, name, instance_digest(instance_vars)]).await?;
        row.as_ref().map(pipeline_record).transpose()
    }

    /// The stored configuration and its version; nothing for an archived or missing pipeline.
    pub async fn pipeline_config(&self, pipeline: PipelineId) -> Result<Option<(Value, i64)>> {
        let sql = "SELECT config, version FROM pipelines WHERE id = $1 AND archived = 0";
        let Some(row) = self.row(sql, args![pipeline]).await? else { return Ok(None) };
        let Some(stored) = row.opt_text("config")? else { return Ok(None) };
        Ok(Some((self.unsealed("pipelines.config", stored)?, row.req_int("version")?)))
    }

    /// Pipelines of all teams as far as visible, archived ones included, by team and order.
    pub async fn pipelines(&self, visible: &Visible) -> Result<Vec<PipelineRecord>> {
        let sql = select_pipelines!(
            "WHERE $1 = 1 OR p.public = 1 OR p.team_id IN (SELECT value FROM json_each($2))
             ORDER BY p.team_id, p.position, p.instance_position, p.id"
        );
        let (all, teams) = visible_args(visible);
        self.rows(sql, args![all, teams]).await?.iter().map(pipeline_record).collect()
    }

    /// A team's pipelines in order, archived ones included.
    pub async fn team_pipelines(
        &self,
        team: TeamId,
        public_only: bool,
    ) -> Result<Vec<PipelineRecord>> {
        let sql = select_pipelines!(
            "WHERE p.team_id = $1 AND (p.public = 1 OR $2 = 0)
             ORDER BY p.position, p.instance_position, p.id"
        );
        self.rows(sql, args![team, public_only]).await?.iter().map(pipeline_record).collect()
    }

    pub async fn pause_pipeline(
        &self,
        pipeline: PipelineId,
        by: &str,
        now: Timestamp,
    ) -> Result<()> {
        transact!(self, async |tx| {
            let done = tx
                .execute(
                    "UPDATE pipelines SET paused = 1, paused_by = $2, paused_at = $3 WHERE id = $1",
                    args![pipeline, by, now],
                )
                .await?;
            found(done, pipeline)
        })
    }

    /// Unpauses and asks for all its jobs to be scheduled.
    pub async fn unpause_pipeline(&self, pipeline: PipelineId, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            let done = tx
                .execute(
                    "UPDATE pipelines SET paused = 0, paused_by = NULL, paused_at = NULL
                     WHERE id = $1",
                    args![pipeline],
                )
                .await?;
            request_all_jobs(tx, pipeline, now).await?;
            tx.changed(Change::CheckRequested);
            found(done, pipeline)
        })
    }

    /// Exposes (`true`) or hides (`false`) a pipeline.
    pub async fn set_pipeline_public(&self, pipeline: PipelineId, public: bool) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE pipelines SET public = $2 WHERE id = $1";
            found(tx.execute(sql, args![pipeline, public]).await?, pipeline)
        })
    }

    /// Pauses, as `by`, unpaused pipelines in which no job build was created since `since` and which were not
    /// saved since. Returns what was paused.
    pub async fn pause_idle_pipelines(
        &self,
        since: Timestamp,
        by: &str,
        now: Timestamp,
    ) -> Result<Vec<PipelineId>> {
        transact!(self, async |tx| {
            let rows = tx
                .rows(
                    "UPDATE pipelines SET paused = 1, paused_by = $2, paused_at = $3
                     WHERE paused = 0 AND archived = 0 AND last_updated < $1 AND NOT EXISTS (
                         SELECT 1 FROM builds b WHERE b.pipeline_id = pipelines.id
                         AND b.job_id IS NOT NULL AND b.created_at >= $1)
                     RETURNING id",
                    args![since, by, now],
                )
                .await?;
            rows.iter().map(|row| row.req_int("id").map(PipelineId)).collect()
        })
    }

    /// Removes a pipeline with its jobs, resources and builds; who drives one of these hears of it. False when it was
    /// not there.
    pub async fn destroy_pipeline(&self, pipeline: PipelineId) -> Result<bool> {
        transact!(self, async |tx| {
            let running = "SELECT id FROM builds WHERE pipeline_id = $1 AND completed = 0";
            for row in tx.rows(running, args![pipeline]).await? {
                tx.changed(Change::Build(BuildId(row.req_int("id")?)));
            }
            tx.execute(
                "DELETE FROM scopes
                 WHERE owner_id IN (SELECT id FROM resources WHERE pipeline_id = $1)",
                args![pipeline],
            )
            .await?;
            tx.changed(Change::CheckRequested);
            Ok(tx.execute("DELETE FROM pipelines WHERE id = $1", args![pipeline]).await? > 0)
        })
    }
}

/// Instance vars as stored: keys sorted, so that equal vars have equal texts.
pub(crate) fn instance_text(vars: &Object) -> String {
    Value::Object(vars.clone()).to_string()
}

/// What instance vars are found by.
pub(crate) fn instance_digest(vars: &Object) -> String {
    hex_digest(&instance_text(vars))
}

fn found(rows: u64, pipeline: PipelineId) -> Result<()> {
    if rows == 0 { Err(Error::not_found("pipeline", pipeline)) } else { Ok(()) }
}

fn pipeline_record(row: &Row) -> Result<PipelineRecord> {
    Ok(PipelineRecord {
        id: PipelineId(row.req_int("id")?),
        team_id: TeamId(row.req_int("team_id")?),
        team_name: row.req_text("team_name")?,
        name: row.req_text("name")?,
        instance_vars: row.req_object("instance_vars")?,
        config_version: row.req_int("version")?,
        groups: row.req_json("groups")?,
        display: row.opt_json("display")?,
        user_data: row.opt_json("user_data")?,
        paused: row.req_bool("paused")?,
        paused_by: row.opt_text("paused_by")?,
        paused_at: row.opt_time("paused_at")?,
        public: row.req_bool("public")?,
        archived: row.req_bool("archived")?,
        last_updated: row.req_time("last_updated")?,
        parent_job: row.opt_int("parent_job_id")?.map(JobId),
        parent_build: row.opt_int("parent_build_id")?.map(BuildId),
    })
}

/// The columns [`pipeline_ref`] reads, of a pipeline `p` and its team `t`.
macro_rules! pipeline_ref_columns {
    () => {
        "p.id AS pipeline_id, p.team_id AS pipeline_team_id, t.name AS pipeline_team_name,
         p.name AS pipeline_name, p.instance_vars AS pipeline_instance_vars,
         p.public AS pipeline_public"
    };
}
pub(crate) use pipeline_ref_columns;

/// The pipeline of a joined row, if it has one.
pub(crate) fn opt_pipeline_ref(row: &Row) -> Result<Option<PipelineRef>> {
    let Some(id) = row.opt_int("pipeline_id")? else { return Ok(None) };
    Ok(Some(PipelineRef {
        id: PipelineId(id),
        team_id: TeamId(row.req_int("pipeline_team_id")?),
        team_name: row.req_text("pipeline_team_name")?,
        name: row.req_text("pipeline_name")?,
        instance_vars: row.req_object("pipeline_instance_vars")?,
        public: row.req_bool("pipeline_public")?,
    }))
}

/// The pipeline of a joined row that always has one.
pub(crate) fn pipeline_ref(row: &Row) -> Result<PipelineRef> {
    row.req_int("pipeline_id")?;
    opt_pipeline_ref(row)?.ok_or_else(|| Error::not_found("pipeline", "of the row"))
}
