//! Moves what was committed from SQLite's log into its file.
//!
//! SQLite would do that at the end of a commit, which then waits for the disk, and all that follow
//! with it. Here it happens beside them, on a connection of its own; how safe a commit is does not
//! change.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqlitePool;
use tokio::sync::Notify;

use crate::reserve::Reserve;
use crate::sql::rows_sqlite;

/// The least time between two rounds.
const PAUSE: Duration = Duration::from_secs(10);
/// When the log has this many pages of 4 KiB, a commit moves them after all.
pub(crate) const LOG_PAGES_MAX: u32 = 16_384;

/// Runs after commits, of which `committed` tells, until it is stopped.
pub(crate) async fn run(
    connections: SqlitePool,
    reserve: Option<Arc<Reserve>>,
    committed: Arc<Notify>,
) {
    let mut whole = restore(reserve.as_ref(), true).await;
    loop {
        committed.notified().await;
        tokio::time::sleep(PAUSE).await;
        // Readers may keep a part for the next time; that is no error.
        let moved = rows_sqlite(&connections, "PRAGMA wal_checkpoint(PASSIVE)", &[]).await;
        if let Err(error) = moved {
            tracing::warn!(%error, "cannot move what was committed into the database's file");
        }
        whole = restore(reserve.as_ref(), whole).await;
    }
}

/// Makes the database's reserve whole again; says so when that changes. True when it is.
async fn restore(reserve: Option<&Arc<Reserve>>, was_whole: bool) -> bool {
    let Some(reserve) = reserve.cloned() else { return true };
    let room = reserve.clone();
    let whole = tokio::task::spawn_blocking(move || reserve.restore()).await.unwrap_or(was_whole);
    match (was_whole, whole) {
        (true, false) => tracing::error!(
            path = %room.path().display(),
            "the database's disk is full; logs are refused until there is space again, and what is stored is safe"
        ),
        (false, true) => tracing::info!("the database's disk has space again"),
        _ => {}
    }
    whole
}
