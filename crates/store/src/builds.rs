//! Builds: of jobs, one-off, and of checks.

use jb_model::{
    BuildId, BuildStatus, JobId, PipelineId, ResourceId, TeamId, Timestamp, Value, Version,
    VersionId,
};

use crate::{Fence, Page, Paged, PipelineRef, Result, Store, Visible};

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
    /// A manually triggered pending build of a job, named by the job's counter.
    pub async fn create_job_build(
        &self,
        job: JobId,
        created_by: Option<&str>,
        now: Timestamp,
    ) -> Result<BuildRecord> {
        unfinished!(job, created_by, now)
    }

    /// Makes sure the scheduler has exactly one pending build of the job. True when it was created now.
    pub async fn ensure_pending_build(
        &self,
        job: JobId,
        now: Timestamp,
    ) -> Result<(BuildRecord, bool)> {
        unfinished!(job, now)
    }

    /// A rerun of a build, named `N.1`, `N.2`, ...; rerunning a rerun counts on the original.
    pub async fn create_rerun(
        &self,
        build: BuildId,
        created_by: Option<&str>,
        now: Timestamp,
    ) -> Result<BuildRecord> {
        unfinished!(build, created_by, now)
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
        unfinished!(team, pipeline, plan, created_by, now)
    }

    /// A build named `check`. Unless manual, an unfinished check build of the resource refuses it (`None`).
    pub async fn create_check_build(
        &self,
        check: NewCheckBuild<'_>,
        now: Timestamp,
    ) -> Result<Option<BuildRecord>> {
        unfinished!(check, now)
    }

    pub async fn build(&self, build: BuildId) -> Result<Option<BuildRecord>> {
        unfinished!(build)
    }

    pub async fn build_by_name(&self, job: JobId, name: &str) -> Result<Option<BuildRecord>> {
        unfinished!(job, name)
    }

    /// The plan as JSON, once the build was started.
    pub async fn build_plan(&self, build: BuildId) -> Result<Option<Value>> {
        unfinished!(build)
    }

    /// Builds of all teams as far as visible.
    pub async fn all_builds(&self, visible: &Visible, page: Page) -> Result<Paged<BuildRecord>> {
        unfinished!(visible, page)
    }

    /// As [`Store::all_builds`], for builds started within seconds `page.from..=page.to` since the epoch.
    pub async fn all_builds_between(
        &self,
        visible: &Visible,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        unfinished!(visible, page)
    }

    pub async fn team_builds(&self, team: TeamId, page: Page) -> Result<Paged<BuildRecord>> {
        unfinished!(team, page)
    }

    /// As [`Store::team_builds`], for builds started within seconds `page.from..=page.to` since the epoch.
    pub async fn team_builds_between(
        &self,
        team: TeamId,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        unfinished!(team, page)
    }

    pub async fn pipeline_builds(
        &self,
        pipeline: PipelineId,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        unfinished!(pipeline, page)
    }

    /// As [`Store::pipeline_builds`], for builds started within seconds `page.from..=page.to` since the epoch.
    pub async fn pipeline_builds_between(
        &self,
        pipeline: PipelineId,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        unfinished!(pipeline, page)
    }

    /// A job's builds; reruns stand with their original.
    pub async fn job_builds(&self, job: JobId, page: Page) -> Result<Paged<BuildRecord>> {
        unfinished!(job, page)
    }

    /// As [`Store::job_builds`], for builds started within seconds `page.from..=page.to` since the epoch.
    pub async fn job_builds_between(&self, job: JobId, page: Page) -> Result<Paged<BuildRecord>> {
        unfinished!(job, page)
    }

    /// A job's pending builds in the order they may start: by (rerun_of or id), then id.
    pub async fn pending_builds(&self, job: JobId) -> Result<Vec<NextBuild>> {
        unfinished!(job)
    }

    /// Whether a pending build is next among its job and the jobs sharing a serial group with it (those not
    /// paused and with determined inputs), and fewer than `max_in_flight` of their builds run.
    /// Always true when `max_in_flight` is 0.
    pub async fn may_start(&self, build: BuildId, max_in_flight: u32) -> Result<bool> {
        unfinished!(build, max_in_flight)
    }

    /// How many started builds the job and the jobs sharing a serial group with it have.
    pub async fn running_in_groups(&self, job: JobId) -> Result<u64> {
        unfinished!(job)
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
        unfinished!(build, plan, inputs, pipes, now)
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
        unfinished!(build, status, fence, now)
    }

    /// Marks a build as to be stopped. False when it is over.
    pub async fn abort_build(&self, build: BuildId, now: Timestamp) -> Result<bool> {
        unfinished!(build, now)
    }

    pub async fn set_build_comment(&self, build: BuildId, comment: &str) -> Result<()> {
        unfinished!(build, comment)
    }

    /// The versions a build used, by name.
    pub async fn build_inputs(&self, build: BuildId) -> Result<Vec<BuildInput>> {
        unfinished!(build)
    }

    /// The versions a build made, by name.
    pub async fn build_outputs(&self, build: BuildId) -> Result<Vec<BuildOutput>> {
        unfinished!(build)
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
        unfinished!(build, name, resource, version, first_occurrence)
    }

    /// Jobs that have ended builds whose log was not removed.
    pub async fn jobs_with_logs(&self) -> Result<Vec<JobId>> {
        unfinished!()
    }

    /// A job's ended builds that still have a log, newest first.
    pub async fn builds_with_logs(&self, job: JobId, limit: u32) -> Result<Vec<RetentionBuild>> {
        unfinished!(job, limit)
    }

    /// Removes the logs of ended builds, sets their reap time and advances their jobs' first logged build.
    pub async fn delete_logs(&self, builds: &[BuildId], now: Timestamp) -> Result<()> {
        unfinished!(builds, now)
    }

    /// Ended builds whose log was not handed to the syslog drain yet, oldest first.
    pub async fn undrained_builds(&self, limit: u32) -> Result<Vec<BuildId>> {
        unfinished!(limit)
    }

    pub async fn set_drained(&self, build: BuildId) -> Result<()> {
        unfinished!(build)
    }

    /// Deletes ended check builds of a resource except its last, and those of before `before`. Returns how many.
    pub async fn delete_old_checks(&self, before: Timestamp, limit: u32) -> Result<u64> {
        unfinished!(before, limit)
    }
}
