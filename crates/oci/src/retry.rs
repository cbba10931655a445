//! When to try again, as a pure decision.

use std::time::Duration;

/// The longest wait a registry can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Waits that double from `base` up to `most`; or what the registry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most.
    pub attempts: u32,
    pub base: Duration,
    pub most: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 8, base: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// How long to wait after the `attempt`th (from 1) failed; None when it was the last. `jitter` from 0 to 1
    /// spreads those who failed together over the second half of the wait.
    pub fn delay(
        &self,
        attempt: u32,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        if let Some(asked) = retry_after {
            return Some(asked.min(MAX_RETRY_AFTER));
        }
        let doubled =
            self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.most);
        Some(doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }
}

/// A number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = std::hash::RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// `Retry-After`: seconds, or a date seen from `now`.
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(Duration::from_secs(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
