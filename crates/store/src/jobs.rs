//! Jobs: listing, pausing, requests to schedule, and the inputs of the next build.

use jb_model::{
    BuildId, BuildStatus, JobId, PipelineId, ResourceId, TeamId, Timestamp, Value, VersionId,
};

use crate::{PipelineRef, Result, Store, Visible};

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
        unfinished!(visible)
    }

    /// A team's jobs, of pipelines that are not archived.
    pub async fn team_jobs(&self, team: TeamId, public_only: bool) -> Result<Vec<JobRecord>> {
        unfinished!(team, public_only)
    }

    /// A pipeline's jobs in the order of its configuration.
    pub async fn pipeline_jobs(&self, pipeline: PipelineId) -> Result<Vec<JobRecord>> {
        unfinished!(pipeline)
    }

    pub async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        unfinished!(job)
    }

    /// Finds an active job by name.
    pub async fn job_by_name(&self, pipeline: PipelineId, name: &str) -> Result<Option<JobRecord>> {
        unfinished!(pipeline, name)
    }

    /// The job's part of the configuration as JSON; nothing when inactive or archived.
    pub async fn job_config(&self, job: JobId) -> Result<Option<Value>> {
        unfinished!(job)
    }

    pub async fn pause_job(&self, job: JobId, by: &str, now: Timestamp) -> Result<()> {
        unfinished!(job, by, now)
    }

    /// Unpauses and requests scheduling.
    pub async fn unpause_job(&self, job: JobId, now: Timestamp) -> Result<()> {
        unfinished!(job, now)
    }

    pub async fn request_schedule(&self, job: JobId, now: Timestamp) -> Result<()> {
        unfinished!(job, now)
    }

    /// Active jobs of active pipelines whose scheduling is due, oldest request first.
    pub async fn jobs_to_schedule(&self, limit: u32) -> Result<Vec<DueJob>> {
        unfinished!(limit)
    }

    /// One job's request, if it is due.
    pub async fn job_to_schedule(&self, job: JobId) -> Result<Option<DueJob>> {
        unfinished!(job)
    }

    /// Records that the request `requested` was served.
    pub async fn set_scheduled(&self, job: JobId, requested: i64) -> Result<()> {
        unfinished!(job, requested)
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
        unfinished!(job, inputs, pipes, determined, has_new_inputs)
    }

    /// The inputs of the job's next build as last resolved, by name, and whether all are determined.
    pub async fn next_inputs(&self, job: JobId) -> Result<(Vec<NextInput>, bool)> {
        unfinished!(job)
    }

    /// The builds that vouched for the next inputs.
    pub async fn next_pipes(&self, job: JobId) -> Result<Vec<BuildId>> {
        unfinished!(job)
    }
}
