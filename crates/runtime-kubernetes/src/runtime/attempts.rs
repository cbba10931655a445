//! When to ask a pod's node for its runner. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A kubelet needs about half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Where events tell, in case neither they nor the pod's status came. A node that starts many pods answers each attempt
/// in vain with work that it has better use for.
const UNTOLD_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Since when the pod has a node.
    since: Option<Instant>,
    last: Option<Instant>,
    pause: Duration,
    /// Asked because the container had started.
    is_told: bool,
}

impl Attempts {
    /// Whether to ask now. `started` is what is known of the container. Where nothing tells, the node is asked again
    /// and again, at first often; where events tell, only in case one was lost.
    pub(super) fn is_due(&mut self, started: Option<bool>, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        match started {
            Some(true) if !self.is_told => {
                self.is_told = true;
                self.pause = FIRST_PAUSE;
                true
            }
            Some(false) => {
                self.pause = UNTOLD_PAUSE;
                now >= self.last.unwrap_or(since) + UNTOLD_PAUSE
            }
            Some(true) | None => self.last.is_none_or(|last| now >= last + self.pause),
        }
    }

    /// The node was asked, and there was no runner yet.
    pub(super) fn failed(&mut self, now: Instant) {
        self.last = Some(now);
        self.pause = (self.pause * 3 / 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    /// When to look again, if nothing is heard of the pod before.
    pub(super) fn next(&self, now: Instant) -> Instant {
        match self.last.or(self.since) {
            Some(since) => (since + self.pause.max(FIRST_PAUSE)).max(now),
            None => now + LONGEST_PAUSE,
        }
    }
}

#[cfg(test)]
mod tests;
