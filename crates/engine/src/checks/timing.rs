//! When a resource is checked: pure decisions.

use std::time::Duration;

use jb_model::Timestamp;
use jb_model::config::CheckEvery;

/// Failing checks are spaced out to at most this, or to their interval if that is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(10 * 60);

/// The least time between two periodic checks of one thing, whatever a pipeline asks for.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What the operator set for all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    pub resource_interval: Duration,
    pub type_interval: Duration,
    pub webhook_interval: Duration,
    /// Also the timeout of checks that name none.
    pub timeout: Duration,
    pub rate: CheckRate,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            resource_interval: Duration::from_secs(60),
            type_interval: Duration::from_secs(60),
            webhook_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(60 * 60),
            rate: CheckRate::Auto,
        }
    }
}

/// How many periodic checks may start per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckRate {
    /// As many as it takes to check each once per interval.
    Auto,
    PerSecond(u32),
    Unlimited,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkable {
    Resource {
        has_webhook: bool,
    },
    /// A resource type or a prototype.
    Type,
}

/// The time between periodic checks, at least [`INTERVAL_MIN`]; `None` for never.
pub fn interval(every: &CheckEvery, what: Checkable, settings: &CheckSettings) -> Option<Duration> {
    let interval = match every {
        CheckEvery::Never => return None,
        CheckEvery::Every(interval) => *interval,
        CheckEvery::Default => match what {
            Checkable::Type => settings.type_interval,
            Checkable::Resource { has_webhook: true } => settings.webhook_interval,
            Checkable::Resource { has_webhook: false } => settings.resource_interval,
        },
    };
    Some(interval.max(INTERVAL_MIN))
}

/// The time until the next periodic check after one that failed, `before` being the time there was
/// between the last two if the last one failed too. A check that fails again and again is asked less
/// often, never not at all.
pub fn spacing_after_failure(interval: Duration, before: Option<Duration>) -> Duration {
    match before {
        // One failure changes nothing: most are gone the next time.
        None => interval,
        Some(before) => before.saturating_mul(2).clamp(interval, MAX_BACKOFF.max(interval)),
    }
}

/// Lets a bounded number of periodic checks start, evenly over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateLimit {
    /// The earliest time the next check may start.
    next_at: Timestamp,
}

impl RateLimit {
    /// How many of `n_due` checks may start now. A round that comes late may catch up one round.
    pub fn take(
        &mut self,
        n_due: usize,
        per_second: Option<f64>,
        now: Timestamp,
        round: Duration,
    ) -> usize {
        let Some(rate) = per_second.filter(|rate| *rate > 0.0) else { return n_due };
        let spacing = Duration::from_secs_f64(1.0 / rate);
        let oldest =
            Timestamp(now.0.saturating_sub(i64::try_from(round.as_micros()).unwrap_or(i64::MAX)));
        self.next_at = self.next_at.max(oldest);
        let mut n_taken = 0;
        while n_taken < n_due && self.next_at <= now {
            self.next_at = self.next_at.after(spacing);
            n_taken += 1;
        }
        n_taken
    }
}

/// Checks per second under the settings, for so many things that are checked periodically.
pub fn checks_per_second(settings: &CheckSettings, n_periodic: usize) -> Option<f64> {
    match settings.rate {
        CheckRate::Unlimited => None,
        CheckRate::PerSecond(rate) => Some(f64::from(rate)),
        CheckRate::Auto => {
            let n = u32::try_from(n_periodic).map_or(f64::MAX, f64::from);
            // At least one, so that the first checks of a small server do not wait.
            Some((n / settings.resource_interval.as_secs_f64().max(0.001)).max(1.0))
        }
    }
}
