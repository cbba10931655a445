//! The stored side of the build machine: its event list, and the leases of those who drive it.

use std::time::Duration;

use jb_model::{BuildId, Timestamp};

use crate::{Position, Result, Store};

/// Proof of holding a build's lease; grows with every change of hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub i64);

/// A build's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub build: BuildId,
    pub owner: String,
    pub fence: Fence,
    pub expires_at: Timestamp,
}

/// A started build that nobody drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnableBuild {
    pub build: BuildId,
    pub aborted: bool,
}

impl Store {
    /// Takes the lease when nobody holds it, it expired, or `owner` holds it already (with a new fence).
    pub async fn acquire_lease(
        &self,
        build: BuildId,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>> {
        unfinished!(build, owner, ttl, now)
    }

    /// Prolongs a lease. False when it is lost.
    pub async fn renew_lease(
        &self,
        build: BuildId,
        fence: Fence,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        unfinished!(build, fence, ttl, now)
    }

    /// Gives a lease up so that another may take it at once.
    pub async fn release_lease(&self, build: BuildId, fence: Fence) -> Result<()> {
        unfinished!(build, fence)
    }

    /// Started builds without a live lease, oldest first.
    pub async fn runnable_builds(&self, now: Timestamp, limit: u32) -> Result<Vec<RunnableBuild>> {
        unfinished!(now, limit)
    }

    /// Takes the leases of up to `limit` runnable builds at once; several servers do not get the same one.
    pub async fn claim_builds(
        &self,
        owner: &str,
        ttl: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Lease>> {
        unfinished!(owner, ttl, limit, now)
    }

    /// Stores what one step of the machine took in and what it says, at once: the machine's events are appended
    /// from number `from` (which must be how many there are), `build_events` go to the log, positions move.
    /// Fails with [`crate::Error::FenceLost`] when the lease is lost.
    pub async fn commit_step(
        &self,
        build: BuildId,
        fence: Fence,
        from: u64,
        machine_events: &[String],
        build_events: &[String],
        positions: &[Position<'_>],
    ) -> Result<()> {
        unfinished!(build, fence, from, machine_events, build_events, positions)
    }

    /// The machine's events in order.
    pub async fn machine_events(&self, build: BuildId) -> Result<Vec<String>> {
        unfinished!(build)
    }
}
