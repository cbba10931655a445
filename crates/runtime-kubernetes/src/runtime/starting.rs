//! How many pods are being started, so that what can wait leaves their nodes to them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What keeps a pod from having started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// That starting takes its time.
    Busy,
    /// That there is no room for it, in the cluster or in the namespace's quota.
    ByRoom,
    /// Anything else, such as an image that cannot be pulled now.
    ByOther,
}

/// Pods of this server on their way to their runners.
#[derive(Debug, Default)]
pub(super) struct Starting {
    counts: watch::Sender<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    busy: usize,
    without_room: usize,
}

impl Counts {
    fn of(&mut self, held: Held) -> Option<&mut usize> {
        match held {
            Held::Busy => Some(&mut self.busy),
            Held::ByRoom => Some(&mut self.without_room),
            Held::ByOther => None,
        }
    }
}

impl Starting {
    /// One more, until what is returned is dropped.
    pub(super) fn begin(&self) -> Start<'_> {
        self.change(None, Some(Held::Busy));
        Start { starting: self, held: Mutex::new(Held::Busy) }
    }

    fn change(&self, from: Option<Held>, to: Option<Held>) {
        self.counts.send_modify(|counts| {
            if let Some(count) = from.and_then(|held| counts.of(held)) {
                *count = count.saturating_sub(1);
            }
            if let Some(count) = to.and_then(|held| counts.of(held)) {
                *count += 1;
            }
        });
    }

    /// Returns when none takes its time, when one has no room, or after `max`.
    pub(super) async fn over(&self, max: Duration) {
        let mut counts = self.counts.subscribe();
        let over = counts.wait_for(|counts| counts.busy == 0 || counts.without_room > 0);
        // Whether it is over or took too long is the same to who waits.
        let _ = tokio::time::timeout(max, over).await;
    }
}

/// A pod on its way to its runner.
#[derive(Debug)]
pub(super) struct Start<'a> {
    starting: &'a Starting,
    held: Mutex<Held>,
}

impl Start<'_> {
    /// What keeps it from having started now.
    pub(super) fn is(&self, held: Held) {
        let mut known = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *known, held);
        if former != held {
            self.starting.change(Some(former), Some(held));
        }
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        let held = *self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.starting.change(Some(held), None);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn is_over(starting: &Starting) -> bool {
        starting.over(LONG).now_or_never().is_some()
    }

    #[tokio::test]
    async fn whoever_waits_does_so_for_the_last_pod() {
        let starting = Starting::default();
        assert!(is_over(&starting));
        let (one, other) = (starting.begin(), starting.begin());
        drop(one);
        assert!(!is_over(&starting));
        let waited = starting.over(LONG);
        tokio::join!(waited, async { drop(other) });
        assert!(is_over(&starting));
    }

    #[tokio::test]
    async fn nobody_waits_while_a_pod_has_no_room() {
        let starting = Starting::default();
        let (_busy, full) = (starting.begin(), starting.begin());
        full.is(Held::ByRoom);
        full.is(Held::ByRoom);
        assert!(is_over(&starting));
        full.is(Held::Busy);
        assert!(!is_over(&starting));
        full.is(Held::ByRoom);
        drop(full);
        assert!(!is_over(&starting));
    }

    #[tokio::test]
    async fn a_pod_that_is_stuck_is_not_waited_for() {
        let starting = Starting::default();
        let stuck = starting.begin();
        stuck.is(Held::ByOther);
        assert!(is_over(&starting));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let starting = Starting::default();
        let _busy = starting.begin();
        assert!(starting.over(Duration::ZERO).now_or_never().is_none());
        starting.over(Duration::from_millis(1)).await;
    }
}
