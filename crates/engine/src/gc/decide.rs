//! What to remove, given what is recorded and what the runtime has: pure decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jb_model::Timestamp;

/// Since when the runtime and the records disagree, by handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// The runtime has it, no record does.
    unknown: BTreeMap<String, Timestamp>,
    /// A record has it, the runtime does not.
    missing: BTreeMap<String, Timestamp>,
}

/// What disagreed for long enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// To be destroyed in the runtime.
    pub unknown: BTreeSet<String>,
    /// Whose record is to be removed.
    pub missing: BTreeSet<String>,
}

impl Strays {
    /// Takes in one look at both sides. Something may be on one side only for a moment, while it is
    /// made or removed; only what stays so for `grace` is stale.
    pub fn look(
        &mut self,
        in_runtime: &BTreeSet<String>,
        recorded: &BTreeSet<String>,
        grace: Duration,
        now: Timestamp,
    ) -> Stale {
        Stale {
            unknown: since(&mut self.unknown, in_runtime.difference(recorded), grace, now),
            missing: since(&mut self.missing, recorded.difference(in_runtime), grace, now),
        }
    }
}

fn since<'a>(
    first_seen: &mut BTreeMap<String, Timestamp>,
    present: impl Iterator<Item = &'a String>,
    grace: Duration,
    now: Timestamp,
) -> BTreeSet<String> {
    let former = std::mem::take(first_seen);
    for handle in present {
        first_seen.insert(handle.clone(), former.get(handle).copied().unwrap_or(now));
    }
    let stale = first_seen.iter().filter(|(_, since)| now.since(**since) >= grace);
    stale.map(|(handle, _)| handle.clone()).collect()
}

/// The times before which things count as old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    pub ended: Timestamp,
    pub failed: Timestamp,
    pub checked: Timestamp,
    pub hijacked: Timestamp,
    pub artifacts: Timestamp,
    pub volumes: Timestamp,
    pub caches: Timestamp,
    pub task_caches: Timestamp,
    pub check_builds: Timestamp,
}

/// How long things are kept; see the fields of [`Cutoffs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraceSettings {
    /// Containers of builds without a job, after the build's end.
    pub one_off: Duration,
    /// Containers and volumes that only one side knows.
    pub missing: Duration,
    /// Containers someone was inside, after the last time.
    pub hijack: Duration,
    /// Containers of a job's latest build if it did not succeed. Zero keeps them until the next build.
    pub failed: Duration,
    /// Containers of checks, after they were made.
    pub check: Duration,
    /// Uploaded and published artifacts.
    pub artifact: Duration,
    /// Volumes that nothing refers to.
    pub volume: Duration,
    /// Fetched versions, after their last use.
    pub cache: Duration,
    /// Caches of tasks, after their last use; zero keeps them while their job lives.
    pub task_cache: Duration,
    /// Builds of checks, except each resource's last.
    pub check_build: Duration,
    /// Pipelines in which nothing was built for this long are paused; zero never pauses.
    pub pause_pipelines: Duration,
}

impl Default for GraceSettings {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            one_off: Duration::from_secs(5 * MINUTE),
            missing: Duration::from_secs(5 * MINUTE),
            hijack: Duration::from_secs(5 * MINUTE),
            failed: Duration::from_secs(120 * HOUR),
            check: Duration::from_secs(MINUTE),
            artifact: Duration::from_secs(12 * HOUR),
            volume: Duration::from_secs(5 * MINUTE),
            cache: Duration::from_secs(24 * HOUR),
            task_cache: Duration::ZERO,
            check_build: Duration::from_secs(HOUR),
            pause_pipelines: Duration::ZERO,
        }
    }
}

impl GraceSettings {
    pub fn cutoffs(&self, now: Timestamp) -> Cutoffs {
        let before = |age: Duration| {
            Timestamp(now.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
        };
        let unless_zero =
            |age: Duration| if age.is_zero() { Timestamp(i64::MIN) } else { before(age) };
        Cutoffs {
            ended: before(self.one_off),
            failed: unless_zero(self.failed),
            checked: before(self.check),
            hijacked: before(self.hijack),
            artifacts: before(self.artifact),
            volumes: before(self.volume),
            caches: before(self.cache),
            task_caches: unless_zero(self.task_cache),
            check_builds: before(self.check_build),
        }
    }
}
