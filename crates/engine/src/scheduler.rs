//! Starts the builds that jobs are due.
//!
//! A reconciler: each pass over a job reads what is stored, chooses versions for the job's inputs,
//! makes sure a build waits when a version of a triggering input is new, and starts pending builds
//! as far as limits and checks allow. Passing over a job once more changes nothing.
//!
//! A job is passed over when its scheduling was requested (see [`jb_store::Change::Job`]). What a
//! build waits for requests it again: the end of a check, of a build in its serial group, or of a
//! build upstream. Every [`BACKSTOP`] all jobs with pending builds are looked at, should a nudge
//! have been lost.

pub mod configs;
mod facts;
mod load;
mod pass;
pub mod plans;
pub mod preparation;
pub mod readiness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jb_metrics::{Metrics, Scheduling};
use jb_model::{BuildId, BuildStatus, JobId, Timestamp};
use jb_store::{Change, Result, Store};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::Clock;
use crate::checks::Checks;
use configs::Configs;
use facts::JobFacts;
use plans::Planner;
use preparation::{PendingFacts, Preparation};

/// How often requests are looked for without a nudge.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// How often jobs with pending builds are passed over without a request.
pub const BACKSTOP: Duration = Duration::from_secs(30);
/// How many jobs are passed over at once.
const MAX_PARALLEL: usize = 8;
/// Requests read in one round.
const MAX_DUE: u32 = 1_000;

/// Starts the builds that jobs are due.
pub struct Scheduler {
    store: Store,
    configs: Arc<Configs>,
    checks: Arc<Checks>,
    planner: Arc<Planner>,
    counts: Scheduling,
}

impl Scheduler {
    pub fn new(
        store: Store,
        configs: Arc<Configs>,
        checks: Arc<Checks>,
        planner: Arc<Planner>,
    ) -> Self {
        Self { store, configs, checks, planner, counts: Metrics::default().scheduling }
    }

    /// Counts in these.
    #[must_use]
    pub fn counting(self, counts: Scheduling) -> Self {
        Self { counts, ..self }
    }

    /// Serves nudges and the timer until it is dropped.
    pub async fn run(self: Arc<Self>, clock: Clock) {
        let mut changes = self.store.subscribe();
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_backstop: Option<Timestamp> = None;
        loop {
            let mut nudged = BTreeSet::new();
            let mut all = false;
            tokio::select! {
                _ = interval.tick() => all = true,
                change = changes.recv() => match change {
                    Ok(change) => note(change, &mut nudged, &mut all),
                    Err(RecvError::Lagged(_)) => all = true,
                    // The store is gone; the timer goes on until this task is ended.
                    Err(RecvError::Closed) => { interval.tick().await; all = true; }
                },
            }
            while let Ok(change) = changes.try_recv() {
                note(change, &mut nudged, &mut all);
            }
            let now = clock();
            let result = if all {
                if last_backstop.is_none_or(|last| now.since(last) >= BACKSTOP) {
                    last_backstop = Some(now);
                    if let Err(error) = self.request_pending(now).await {
                        tracing::error!(%error, "failed to look for waiting builds");
                    }
                }
                self.clone().run_due(now).await.map(drop)
            } else {
                self.clone().run_jobs(nudged, now).await
            };
            if let Err(error) = result {
                tracing::error!(%error, "failed to look for jobs to schedule");
            }
        }
    }

    /// Passes over every job whose scheduling is due; says over how many.
    pub async fn run_due(self: Arc<Self>, now: Timestamp) -> Result<usize> {
        let due = self.store.jobs_to_schedule(MAX_DUE).await?;
        let jobs: BTreeSet<JobId> = due.iter().map(|due| due.job).collect();
        let n_jobs = jobs.len();
        self.run_jobs(jobs, now).await?;
        Ok(n_jobs)
    }

    /// Requests passes over jobs with pending builds, and ends builds that nothing can start.
    pub async fn request_pending(&self, now: Timestamp) -> Result<()> {
        for build in self.store.stranded_builds(MAX_DUE).await? {
            self.store.finish_build(build, BuildStatus::Aborted, None, now).await?;
        }
        for job in self.store.jobs_with_pending_builds(MAX_DUE).await? {
            self.store.request_schedule(job, now).await?;
        }
        Ok(())
    }

    async fn run_jobs(self: Arc<Self>, jobs: BTreeSet<JobId>, now: Timestamp) -> Result<()> {
        let mut jobs = jobs.into_iter();
        let mut passes = JoinSet::new();
        loop {
            while passes.len() < MAX_PARALLEL
                && let Some(job) = jobs.next()
            {
                let scheduler = self.clone();
                passes.spawn(async move {
                    if let Err(error) = scheduler.schedule(job, now).await {
                        tracing::error!(%job, %error, "failed to schedule a job");
                    }
                });
            }
            if passes.join_next().await.is_none() {
                return Ok(());
            }
        }
    }

    /// Passes over one job if its scheduling is due, unless another server does.
    pub async fn schedule(&self, job: JobId, now: Timestamp) -> Result<()> {
        let Some(turn) = self.store.job_turn(job).await? else { return Ok(()) };
        if let Some(due) = self.store.job_to_schedule(job).await? {
            if let Some(job) = self.store.job(job).await? {
                let _turn = self.counts.turn(&job.pipeline.name, &job.name, job.id.0);
                pass::run(self, job, now).await?;
            }
            // Not before the pass is done: what a crash cuts short is due again.
            self.store.set_scheduled(job, due.requested).await?;
        }
        turn.end().await
    }

    /// Why a build has not started; none for an unknown build.
    pub async fn preparation(&self, build: BuildId) -> Result<Option<Preparation>> {
        let Some(record) = self.store.build(build).await? else { return Ok(None) };
        let job = match record.job_id.filter(|_| record.status == BuildStatus::Pending) {
            Some(job) => self.store.job(job).await?,
            None => return Ok(Some(Preparation::unblocked(build))),
        };
        let facts = match job {
            Some(job) => JobFacts::load(self, job).await?,
            None => None,
        };
        let Some(facts) = facts else { return Ok(Some(Preparation::unblocked(build))) };
        let (next_inputs, _) = self.store.next_inputs(facts.job.id).await?;
        let may_start = self.store.may_start(build, facts.job.max_in_flight).await?;
        let awaited = readiness::awaited_checks(
            pass::origin(&record),
            record.created_at,
            &facts.checked_inputs(),
        );
        let pending = PendingFacts {
            pipeline_paused: facts.job.pipeline_paused,
            job_paused: facts.job.paused,
            max_in_flight_reached: !may_start,
            inputs: facts.gets.iter().map(|get| get.input.name.clone()).collect(),
            next_inputs: next_inputs
                .into_iter()
                .map(|next| (next.name.clone(), reason(next)))
                .collect(),
            awaiting_check: facts::names_of(&facts.gets, &awaited),
        };
        Ok(Some(preparation::prepare(build, &pending)))
    }
}

fn reason(next: jb_store::NextInput) -> Option<String> {
    match next.choice {
        jb_store::NextInputChoice::Version { .. } => None,
        jb_store::NextInputChoice::Unresolved { reason } => Some(reason),
    }
}

fn note(change: Change, nudged: &mut BTreeSet<JobId>, all: &mut bool) {
    match change {
        Change::Job(job) => {
            nudged.insert(job);
        }
        Change::Everything => *all = true,
        Change::Build(_) | Change::BuildQueued | Change::CheckRequested | Change::Component => {}
    }
}

#[cfg(test)]
pub(crate) mod tests;
