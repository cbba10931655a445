//! Removes build logs that nobody asked to keep.
//!
//! A round looks only at jobs with a build that ended since the last one; every [`FULL_ROUND`] at
//! all, because logs also expire by age.

pub mod policy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jb_model::{BuildId, JobId, Timestamp};
use jb_store::sched::LatestBuild;
use jb_store::{Result, Store};

use crate::Clock;
use crate::scheduler::configs::Configs;
use policy::{LoggedBuild, RetentionLimits};

/// How often jobs are looked at.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// How often those without new builds are, too.
pub const FULL_ROUND: Duration = Duration::from_secs(60 * 60);
/// Builds looked at per job and round, newest first; what is beyond is reaped in later rounds.
const MAX_BUILDS: u32 = 5_000;

/// Removes build logs by the jobs' and the operator's settings.
pub struct Retention {
    store: Store,
    configs: Arc<Configs>,
    limits: RetentionLimits,
    /// Logs go to a syslog drain before they may be removed.
    has_drain: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    latest: HashMap<JobId, BuildId>,
    full_round: Option<Timestamp>,
}

impl Retention {
    pub fn new(
        store: Store,
        configs: Arc<Configs>,
        limits: RetentionLimits,
        has_drain: bool,
    ) -> Self {
        Self { store, configs, limits, has_drain, seen: Mutex::default() }
    }

    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>, clock: Clock) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.run_once(clock()).await {
                tracing::error!(%error, "failed to remove old build logs");
            }
        }
    }

    /// One round; says how many logs were removed.
    pub async fn run_once(&self, now: Timestamp) -> Result<usize> {
        let mut n_reaped = 0;
        for latest in self.changed(self.store.latest_builds().await?, now) {
            n_reaped += self.reap_job(&latest, now).await?;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.latest.insert(latest.job, latest.build);
        }
        Ok(n_reaped)
    }

    /// The jobs to look at in this round.
    fn changed(&self, all: Vec<LatestBuild>, now: Timestamp) -> Vec<LatestBuild> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.full_round.is_none_or(|last| now.since(last) >= FULL_ROUND) {
            seen.full_round = Some(now);
            seen.latest.clear();
        }
        let is_new = |latest: &LatestBuild| seen.latest.get(&latest.job) != Some(&latest.build);
        all.into_iter().filter(is_new).collect()
    }

    async fn reap_job(&self, latest: &LatestBuild, now: Timestamp) -> Result<usize> {
        let Some(pipeline) = self.configs.get(latest.pipeline).await? else { return Ok(0) };
        let Some(job) = self.store.job(latest.job).await? else { return Ok(0) };
        let Some(config) = pipeline.jobs.iter().find(|config| config.name == job.name) else {
            return Ok(0);
        };
        let retention = policy::retention_of(config, self.limits);
        if retention.builds == 0 && retention.days == 0 {
            return Ok(0);
        }
        let builds = self.store.builds_with_logs(latest.job, MAX_BUILDS).await?;
        let builds: Vec<LoggedBuild> = builds
            .into_iter()
            .map(|build| LoggedBuild {
                id: build.id,
                status: build.status,
                ended_at: build.end_time,
                drained: build.drained || !self.has_drain,
            })
            .collect();
        let reap = policy::decide(&builds, &retention, now);
        if !reap.is_empty() {
            self.store.delete_logs(&reap, now).await?;
        }
        Ok(reap.len())
    }
}

#[cfg(test)]
mod tests;
