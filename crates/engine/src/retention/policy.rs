//! Which build logs are kept: a pure decision over a job's finished builds.

use std::time::Duration;

use jb_model::config::LogRetention;
use jb_model::{BuildId, BuildStatus, JobConfig, Timestamp};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the operator set for all jobs. 0 means no default and no maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    pub default_builds: u32,
    pub max_builds: u32,
    pub default_days: u32,
    pub max_days: u32,
}

/// What a job asks for, with defaults filled in and cut to the maxima.
///
/// All zero means that every log is kept.
pub fn retention_of(job: &JobConfig, limits: RetentionLimits) -> LogRetention {
    let asked = job.build_log_retention.clone().unwrap_or(LogRetention {
        builds: job.build_logs_to_retain,
        minimum_succeeded_builds: 0,
        days: 0,
    });
    let builds = within(asked.builds, limits.default_builds, limits.max_builds);
    let days = within(asked.days, limits.default_days, limits.max_days);
    let capped = limits.max_builds > 0 || limits.max_days > 0;
    let minimum_succeeded_builds = if capped && asked.minimum_succeeded_builds > builds {
        0
    } else {
        asked.minimum_succeeded_builds
    };
    LogRetention { builds, minimum_succeeded_builds, days }
}

fn within(asked: u32, default: u32, max: u32) -> u32 {
    let wanted = if asked == 0 { default } else { asked };
    match (wanted, max) {
        (wanted, 0) => wanted,
        (0, max) => max,
        (wanted, max) => wanted.min(max),
    }
}

/// A build whose log was not reaped yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedBuild {
    pub id: BuildId,
    pub status: BuildStatus,
    pub ended_at: Option<Timestamp>,
    /// False while a log drain is configured that has not taken this build's log yet.
    pub drained: bool,
}

/// Decides over builds given newest first: whose logs go.
pub fn decide(builds: &[LoggedBuild], retention: &LogRetention, now: Timestamp) -> Vec<BuildId> {
    if retention.builds == 0 && retention.days == 0 {
        return Vec::new();
    }
    let (builds_wanted, days_wanted) = (retention.builds as usize, retention.days);
    let mut n_kept = 0;
    let mut n_succeeded = 0;
    let mut reap = Vec::new();
    // Kept for their number or age, not for having succeeded or being unfinished.
    let mut spare = Vec::new();
    for build in builds {
        if !build.status.is_final() || !build.drained {
            continue;
        }
        if builds_wanted > 0
            && build.status == BuildStatus::Succeeded
            && n_succeeded < retention.minimum_succeeded_builds
        {
            n_succeeded += 1;
            n_kept += 1;
        } else if n_kept < builds_wanted || (days_wanted > 0 && is_young(build, days_wanted, now)) {
            n_kept += 1;
            spare.push(build.id);
        } else {
            reap.push(build.id);
        }
    }
    // Age may keep more than the number allows, until something falls due.
    if !reap.is_empty() && builds_wanted > 0 {
        let excess = n_kept.saturating_sub(builds_wanted).min(spare.len());
        reap.extend(spare.split_off(spare.len() - excess));
    }
    reap.sort_unstable();
    reap
}

fn is_young(build: &LoggedBuild, days: u32, now: Timestamp) -> bool {
    build.ended_at.is_none_or(|ended_at| ended_at.after(DAY.saturating_mul(days)) >= now)
}
