//! Nudges: what changed, so that whoever waits re-reads. They carry no state and may be repeated.

use jb_model::{BuildId, JobId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Something that may have made work possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Nudges may have been lost: re-read everything of interest.
    Everything,
    /// The build's log grew, or its row changed (started, aborted, finished).
    Build(BuildId),
    /// A build became ready to be driven: it was started, or its lease was given up.
    BuildQueued,
    /// The job shall be scheduled.
    Job(JobId),
    /// A check was asked for, or what is to be checked changed.
    CheckRequested,
    /// A component was paused or resumed.
    Component,
}

/// Returns when a build may have changed; never in a server that stops.
pub async fn build_changed(changes: &mut Receiver<Change>, build: BuildId) {
    loop {
        match changes.recv().await {
            Ok(Change::Build(changed)) if changed == build => return,
            Ok(Change::Everything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
