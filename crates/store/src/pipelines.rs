//! Pipelines: their configuration, order, pausing, publishing, archiving.

use jb_model::{BuildId, JobId, Object, PipelineId, TeamId, Timestamp, Value};

use crate::{Result, Store, Visible};

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
    /// Saves a configuration and brings the rows of jobs, resources, types and prototypes in line with it:
    /// new ones are added, known ones reactivated, missing ones deactivated, and those with an `old_name`
    /// renamed with their history. Fails with [`crate::Error::ConfigVersion`] when `from_version` does not fit.
    pub async fn save_pipeline(
        &self,
        save: SavePipeline<'_>,
        now: Timestamp,
    ) -> Result<SaveOutcome> {
        unfinished!(save, now)
    }

    pub async fn pipeline(&self, pipeline: PipelineId) -> Result<Option<PipelineRecord>> {
        unfinished!(pipeline)
    }

    /// Finds one instance of a pipeline by names; the team's without regard to case.
    pub async fn find_pipeline(
        &self,
        team: &str,
        name: &str,
        instance_vars: &Object,
    ) -> Result<Option<PipelineRecord>> {
        unfinished!(team, name, instance_vars)
    }

    /// The stored configuration and its version; nothing for an archived or missing pipeline.
    pub async fn pipeline_config(&self, pipeline: PipelineId) -> Result<Option<(Value, i64)>> {
        unfinished!(pipeline)
    }

    /// Pipelines of all teams as far as visible, archived ones included, by team and order.
    pub async fn pipelines(&self, visible: &Visible) -> Result<Vec<PipelineRecord>> {
        unfinished!(visible)
    }

    /// A team's pipelines in order, archived ones included.
    pub async fn team_pipelines(
        &self,
        team: TeamId,
        public_only: bool,
    ) -> Result<Vec<PipelineRecord>> {
        unfinished!(team, public_only)
    }

    pub async fn pause_pipeline(
        &self,
        pipeline: PipelineId,
        by: &str,
        now: Timestamp,
    ) -> Result<()> {
        unfinished!(pipeline, by, now)
    }

    /// Unpauses and asks for all its jobs to be scheduled.
    pub async fn unpause_pipeline(&self, pipeline: PipelineId, now: Timestamp) -> Result<()> {
        unfinished!(pipeline, now)
    }

    /// Exposes (`true`) or hides (`false`) a pipeline.
    pub async fn set_pipeline_public(&self, pipeline: PipelineId, public: bool) -> Result<()> {
        unfinished!(pipeline, public)
    }

    /// Archives a pipeline and every pipeline its jobs set, recursively: paused, configurations blanked,
    /// version 0, history kept. Returns what was archived.
    pub async fn archive_pipeline(
        &self,
        pipeline: PipelineId,
        now: Timestamp,
    ) -> Result<Vec<PipelineId>> {
        unfinished!(pipeline, now)
    }

    /// Archives pipelines whose setting job or its pipeline is gone, inactive or archived. For collection.
    pub async fn archive_abandoned_pipelines(&self, now: Timestamp) -> Result<Vec<PipelineId>> {
        unfinished!(now)
    }

    /// Pauses, as `by`, unpaused pipelines in which no job build was created since `since` and which were not
    /// saved since. Returns what was paused.
    pub async fn pause_idle_pipelines(
        &self,
        since: Timestamp,
        by: &str,
        now: Timestamp,
    ) -> Result<Vec<PipelineId>> {
        unfinished!(since, by, now)
    }

    /// Renames all instances of a pipeline. Fails when there is none of the old name or one of the new.
    pub async fn rename_pipeline(&self, team: TeamId, from: &str, to: &str) -> Result<()> {
        unfinished!(team, from, to)
    }

    /// Orders a team's pipelines by name; names left out follow in their former order.
    /// An unknown name fails with [`crate::Error::NotFound`].
    pub async fn order_pipelines(&self, team: TeamId, names: &[String]) -> Result<()> {
        unfinished!(team, names)
    }

    /// Orders the instances of one pipeline; unknown instance vars fail with [`crate::Error::NotFound`].
    pub async fn order_pipeline_instances(
        &self,
        team: TeamId,
        name: &str,
        instances: &[Object],
    ) -> Result<()> {
        unfinished!(team, name, instances)
    }

    /// Removes a pipeline with its jobs, resources and builds. False when it was not there.
    pub async fn destroy_pipeline(&self, pipeline: PipelineId) -> Result<bool> {
        unfinished!(pipeline)
    }
}
