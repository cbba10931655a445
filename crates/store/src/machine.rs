//! The stored side of the build machine: its event list, and the leases of those who drive it.

use std::time::Duration;

use jb_model::{BuildId, Timestamp};

use crate::events::{FAST, advance, insert_segment, pack};
use crate::sql::args;
use crate::store::transact;
use crate::{Change, Error, Position, Result, Store};

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
        let expires_at = now.after(ttl);
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "UPDATE build_runs SET owner = $2, fence = fence + 1, expires_at = $3
                     WHERE build_id = $1 AND (owner IS NULL OR owner = $2 OR expires_at <= $4)
                     AND EXISTS (SELECT 1 FROM builds b WHERE b.id = $1 AND b.completed = 0)
                     RETURNING fence",
                    args![build, owner, expires_at, now],
                )
                .await?;
            let Some(row) = row else { return Ok(None) };
            let fence = Fence(row.req_int("fence")?);
            Ok(Some(Lease { build, owner: owner.into(), fence, expires_at }))
        })
    }

    /// Prolongs a lease. False when it is lost.
    pub async fn renew_lease(
        &self,
        build: BuildId,
        fence: Fence,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let renewed = tx
                .execute(
                    "UPDATE build_runs SET expires_at = $3
                     WHERE build_id = $1 AND fence = $2 AND owner IS NOT NULL",
                    args![build, fence.0, now.after(ttl)],
                )
                .await?;
            Ok(renewed > 0)
        })
    }

    /// Gives a lease up so that another may take it at once.
    pub async fn release_lease(&self, build: BuildId, fence: Fence) -> Result<()> {
        transact!(self, async |tx| {
            let released = tx
                .execute(
                    "UPDATE build_runs SET owner = NULL, expires_at = 0
                     WHERE build_id = $1 AND fence = $2",
                    args![build, fence.0],
                )
                .await?;
            if released > 0 {
                tx.changed(Change::BuildQueued);
            }
            Ok(())
        })
    }

    /// Gives up every lease of an owner who stops, or who starts anew and knows nothing of them. Says how many.
    pub async fn release_leases(&self, owner: &str) -> Result<u64> {
        transact!(self, async |tx| {
            let released = tx
                .execute(
                    "UPDATE build_runs SET owner = NULL, expires_at = 0, fence = fence + 1
                     WHERE owner = $1",
                    args![owner],
                )
                .await?;
            if released > 0 {
                tx.changed(Change::BuildQueued);
            }
            Ok(released)
        })
    }

    /// Started builds without a live lease, oldest first.
    pub async fn runnable_builds(&self, now: Timestamp, limit: u32) -> Result<Vec<RunnableBuild>> {
        let sql = "SELECT b.id, b.aborted FROM builds b JOIN build_runs r ON r.build_id = b.id
                   WHERE b.status = 'started' AND r.expires_at <= $1 ORDER BY b.id LIMIT $2";
        let rows = self.rows(sql, args![now, limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(RunnableBuild {
                    build: BuildId(row.req_int("id")?),
                    aborted: row.req_bool("aborted")?,
                })
            })
            .collect()
    }

    /// Takes the leases of up to `limit` runnable builds at once; several servers do not get the same one.
    pub async fn claim_builds(
        &self,
        owner: &str,
        ttl: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Lease>> {
        let expires_at = now.after(ttl);
        transact!(self, async |tx| {
            let mut leases = Vec::new();
            for row in tx.rows(tx.claim_query(), args![now, limit]).await? {
                let build = BuildId(row.req_int("build_id")?);
                let row = tx
                    .one(
                        "UPDATE build_runs SET owner = $2, fence = fence + 1, expires_at = $3
                         WHERE build_id = $1 RETURNING fence",
                        args![build, owner, expires_at],
                    )
                    .await?;
                let fence = Fence(row.req_int("fence")?);
                leases.push(Lease { build, owner: owner.into(), fence, expires_at });
            }
            Ok(leases)
        })
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
        let segment = pack(build_events, FAST)?;
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let n_machine = i64::try_from(machine_events.len()).unwrap_or(i64::MAX);
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "UPDATE build_runs SET next_event = next_event + $3,
                     next_machine_event = next_machine_event + $4
                     WHERE build_id = $1 AND fence = $2 RETURNING next_event, next_machine_event",
                    args![build, fence.0, segment.n_events, n_machine],
                )
                .await?;
            let row = row.ok_or(Error::FenceLost { build: build.0 })?;
            let known = row.req_int("next_machine_event")? - n_machine;
            if known != from {
                return Err(Error::refused(format!(
                    "build {build} has {known} machine events, not {from}; load it again"
                )));
            }
            for position in positions {
                if !advance(tx, build, position).await? {
                    return Err(Error::refused(format!(
                        "`{}` of build {build} is not stored up to {}; read its position again",
                        position.key, position.from
                    )));
                }
            }
            for (seq, event) in (from..).zip(machine_events) {
                let sealed = tx.seal().seal("machine_events.body", event.clone())?;
                tx.execute(
                    "INSERT INTO machine_events (build_id, seq, body) VALUES ($1, $2, $3)",
                    args![build, seq, sealed],
                )
                .await?;
            }
            let first = row.req_int("next_event")? - segment.n_events;
            insert_segment(tx, build, first, &segment).await
        })
    }

    /// The machine's events in order.
    pub async fn machine_events(&self, build: BuildId) -> Result<Vec<String>> {
        let sql = "SELECT body FROM machine_events WHERE build_id = $1 ORDER BY seq";
        let rows = self.rows(sql, args![build]).await?;
        rows.iter()
            .map(|row| self.unsealed_text("machine_events.body", row.req_text("body")?))
            .collect()
    }
}
