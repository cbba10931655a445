//! How often passwords may be tried.

use std::collections::HashMap;

use jb_model::Timestamp;

/// Failures in a row before a name has to wait.
const BURST: u32 = 10;
/// One more try per this time.
const REFILL_S: i64 = 6;
/// Names remembered at once. Beyond that the oldest ones are forgotten.
const MAX_NAMES: usize = 10_000;

/// Counts failed logins per user name.
#[derive(Debug, Default)]
pub(crate) struct Attempts(HashMap<String, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    /// The failures that still count.
    fn at(self, now: Timestamp) -> u32 {
        let passed = (now.unix_seconds() - self.last.unix_seconds()).max(0) / REFILL_S;
        self.count.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
    }
}

impl Attempts {
    /// Whether a name may be tried now.
    pub(crate) fn allowed(&self, name: &str, now: Timestamp) -> bool {
        self.0.get(name).is_none_or(|failures| failures.at(now) < BURST)
    }

    pub(crate) fn failed(&mut self, name: &str, now: Timestamp) {
        if self.0.len() >= MAX_NAMES && !self.0.contains_key(name) {
            self.0.retain(|_, failures| failures.at(now) > 0);
            if self.0.len() >= MAX_NAMES {
                let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
                if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                    self.0.remove(&oldest);
                }
            }
        }
        let count = self.0.get(name).map_or(0, |failures| failures.at(now));
        self.0.insert(name.to_owned(), Failures { count: count + 1, last: now });
    }

    pub(crate) fn succeeded(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// The seconds that a client is told to wait.
pub(crate) const RETRY_AFTER_S: i64 = REFILL_S;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_mean_waiting() {
        let at = Timestamp::from_unix_seconds;
        let mut attempts = Attempts::default();
        for _ in 0..BURST {
            assert!(attempts.allowed("ann", at(0)));
            attempts.failed("ann", at(0));
        }
        assert!(!attempts.allowed("ann", at(0)));
        assert!(!attempts.allowed("ann", at(5)));
        assert!(attempts.allowed("bob", at(0)));
        assert!(attempts.allowed("ann", at(6)));
        attempts.failed("ann", at(6));
        assert!(!attempts.allowed("ann", at(6)));
        attempts.succeeded("ann");
        assert!(attempts.allowed("ann", at(6)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut attempts = Attempts::default();
        for number in 0..MAX_NAMES + 50 {
            attempts.failed(&format!("user{number}"), Timestamp::from_unix_seconds(0));
        }
        assert_eq!(attempts.0.len(), MAX_NAMES);
    }
}
