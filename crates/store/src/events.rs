//! A build's log: an append-only list of rendered events, numbered from 0.
//!
//! One append is one row holding all its events; when a build has ended, rows are merged into large
//! compressed ones.

use jb_model::BuildId;

use crate::{Fence, Result, Store};

/// How far a source's records are stored, so that each is stored once. A runner's journal is such a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// Names the source within its build.
    pub key: &'a str,
    /// The append covers the source's records after this one ...
    pub from: u64,
    /// ... up to and including this one.
    pub upto: u64,
}

/// One event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: u64,
    /// The event's JSON without its number.
    pub json: String,
}

impl Store {
    /// Appends events to a build's log. With a fence, fails when the lease is lost. With a position, appends only
    /// when exactly the records up to `from` are stored; otherwise nothing happens and the result is
    /// `None`: read [`Store::position`] and continue from there. Returns the number of the first event.
    pub async fn append_events(
        &self,
        build: BuildId,
        events: &[String],
        fence: Option<Fence>,
        position: Option<Position<'_>>,
    ) -> Result<Option<u64>> {
        unfinished!(build, events, fence, position)
    }

    /// Up to which record a source's journal is stored; 0 when nothing is.
    pub async fn position(&self, build: BuildId, key: &str) -> Result<u64> {
        unfinished!(build, key)
    }

    /// Events from number `from` on, as many as fit in `max_bytes` and at least one if there is any.
    pub async fn events(
        &self,
        build: BuildId,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>> {
        unfinished!(build, from, max_bytes)
    }

    /// How many events a build's log has.
    pub async fn event_count(&self, build: BuildId) -> Result<u64> {
        unfinished!(build)
    }

    /// Merges the rows of an ended build's log into large compressed ones. Harmless to repeat or interrupt.
    pub async fn compact_events(&self, build: BuildId) -> Result<()> {
        unfinished!(build)
    }

    /// Ended builds whose log is not compacted yet, oldest first.
    pub async fn uncompacted_builds(&self, limit: u32) -> Result<Vec<BuildId>> {
        unfinished!(limit)
    }
}
