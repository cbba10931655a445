//! What is measured of a pod on its way from its request to its runner.

use std::time::Instant;

use jb_metrics::Pods;

pub(super) struct Birth {
    counts: Pods,
    kind: String,
    requested: Instant,
    is_placed: bool,
}

impl Birth {
    /// Of a pod that is requested now.
    pub(super) fn new(counts: &Pods, kind: &str) -> Self {
        let (counts, kind) = (counts.clone(), kind.to_owned());
        Self { counts, kind, requested: Instant::now(), is_placed: false }
    }

    /// It has a node. Counted once.
    pub(super) fn placed(&mut self) {
        if !std::mem::replace(&mut self.is_placed, true) {
            self.counts.created(&self.kind);
            self.counts.scheduled(&self.kind, self.requested.elapsed());
        }
    }

    /// Its runner answered, or it is given up.
    pub(super) fn ended(self, well: bool) {
        if well {
            self.counts.reached(&self.kind, self.requested.elapsed());
        } else {
            self.counts.failed(&self.kind);
        }
    }
}
