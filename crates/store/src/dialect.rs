//! Where the engines differ: how they are opened, locked, claimed from and listened to, and how they say no.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use jb_model::{BuildId, JobId};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Semaphore;

use crate::reserve::Reserve;
use crate::sql::{Tx, args, rows_sqlite};
use crate::{Change, Error, Result};

/// How long a SQLite connection waits for another process's lock.
const SQLITE_BUSY: Duration = Duration::from_secs(5);
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// Connections that may be held across other queries: less than half, so that these always find one.
const TURNS_MAX: usize = 6;
/// How long to wait for a connection before giving up.
const ACQUIRE: Duration = Duration::from_secs(30);
/// Limit of a notification's payload, below the server's 8,000 bytes.
const MAX_PAYLOAD: usize = 7_000;

/// SQLite's SQLITE_IOERR_SHMSIZE.
const IOERR_SHMSIZE: &str = "4874";

/// The channel that servers sharing a database nudge each other on.
pub(crate) const CHANNEL: &str = "jetbridge";

/// The opened database.
pub(crate) enum Engine {
    /// One connection writes, the others read; in memory there is only one.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
        /// None in memory.
        reserve: Option<Arc<Reserve>>,
    },
    Postgres {
        pool: PgPool,
        /// Connections that may be held while others are waited for.
        turns: Arc<Semaphore>,
    },
}

impl Engine {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return open_sqlite(url, path.strip_prefix("//").unwrap_or(path)).await;
        }
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return open_postgres(url).await;
        }
        Err(Error::Open {
            url: without_password(url),
            reason: "it has to start with `sqlite:` or `postgres:`".into(),
        })
    }
}

async fn open_sqlite(url: &str, path: &str) -> Result<Engine> {
    let options = SqliteConnectOptions::new()
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY)
        .synchronous(SqliteSynchronous::Normal)
        .statement_cache_capacity(512)
        .disable_statement_logging();
    let pool = |size: u32| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    let failed = |error: sqlx::Error| open_error(url, &error);
    if path == ":memory:" {
        let options = options.in_memory(true).filename(":memory:");
        let writer = pool(1).connect_with(options).await.map_err(failed)?;
        return Ok(Engine::Sqlite { readers: writer.clone(), writer, reserve: None });
    }
    let options = options
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", crate::checkpoint::LOG_PAGES_MAX.to_string());
    let writer = pool(1).before_acquire(|connection, _| Box::pin(is_idle(connection)));
    let writer = writer.connect_with(options.clone()).await.map_err(failed)?;
    let readers = pool(SQLITE_READERS).connect_with(options).await.map_err(failed)?;
    // A read makes the files beside the database.
    rows_sqlite(&readers, "SELECT COUNT(*) AS n FROM sqlite_master", &[]).await?;
    let reserve = Reserve::new(Path::new(path)).map_err(|error| Error::Open {
        url: url.into(),
        reason: format!("reserve room on its disk: {error}"),
    })?;
    reserve.restore();
    Ok(Engine::Sqlite { writer, readers, reserve: Some(Arc::new(reserve)) })
}

/// Whether a connection can begin a transaction. SQLite itself rolls one back when the disk is full; the driver's
/// own rollback fails then, and it believes for ever that the transaction goes on.
async fn is_idle(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    if connection.is_in_transaction() {
        // A rollback that is under way is done before the answer.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

async fn open_postgres(url: &str) -> Result<Engine> {
    let failed = |error: sqlx::Error| open_error(url, &error);
    let options = PgConnectOptions::from_str(url)
        .map_err(failed)?
        .application_name("jetbridge")
        .statement_cache_capacity(512)
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await
        .map_err(failed)?;
    Ok(Engine::Postgres { pool, turns: Arc::new(Semaphore::new(TURNS_MAX)) })
}

fn open_error(url: &str, error: &sqlx::Error) -> Error {
    match classify("open", error) {
        Error::Statement { reason, .. } => Error::Open { url: without_password(url), reason },
        other => other,
    }
}

/// The address as it may be shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{host}")
        }
        None => url.into(),
    }
}

/// What a refusal of the database means.
pub(crate) fn classify(statement: &'static str, error: &sqlx::Error) -> Error {
    let reason = error.to_string();
    let Some(database) = error.as_database_error() else {
        return Error::Statement { statement, reason };
    };
    let code = database.code().unwrap_or_default();
    // SQLite's codes are numbers whose low byte is the class; SQLSTATE has five characters.
    let sqlite = database
        .try_downcast_ref::<sqlx::sqlite::SqliteError>()
        .and_then(|_| code.parse::<u32>().ok())
        .map(|code| code & 0xff);
    match (sqlite, code.as_ref()) {
        (Some(5 | 6), _) | (None, "55P03") => Error::Locked { reason },
        // A full disk also shows when SQLite makes the index of its log longer.
        (Some(13), _) | (None, "53100") => Error::Full { reason },
        (Some(10), IOERR_SHMSIZE) => Error::Full { reason },
        (Some(11 | 26), _) | (None, "XX001" | "XX002") => Error::Unreadable { reason },
        (None, "40001" | "40P01") => Error::Collided { reason },
        _ => Error::Statement { statement, reason },
    }
}

/// What transactions that must not interleave agree on. SQLite has one writer anyway.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    Schema,
    Teams,
    /// A team's pipelines: names and order.
    Team(i64),
    /// Starting builds in a pipeline: limits over serial groups.
    PipelineBuilds(i64),
    /// A resource's scope and pin.
    Resource(i64),
    /// A scope's history.
    Scope(i64),
    Job(i64),
    /// The answers to a question.
    Approval(i64),
}

impl Lock {
    const fn key(self) -> (i64, i64) {
        match self {
            Self::Schema => (1, 0),
            Self::Teams => (2, 0),
            Self::Team(id) => (3, id),
            Self::PipelineBuilds(id) => (4, id),
            Self::Resource(id) => (5, id),
            Self::Scope(id) => (6, id),
            Self::Job(id) => (7, id),
            Self::Approval(id) => (8, id),
        }
    }
}

impl Tx {
    /// Waits until no other transaction holds this lock; it is held to the end of this one.
    pub(crate) async fn lock(&mut self, lock: Lock) -> Result<()> {
        if self.is_postgres() {
            let (class, id) = lock.key();
            // One 64-bit key: the class above 56 bits of id.
            self.rows(
                "SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock($1)) AS taken",
                args![(class << 56) ^ id],
            )
            .await?;
        }
        Ok(())
    }

    /// The query for builds to claim: whoever reads a row first has it, without waiting for others.
    pub(crate) const fn claim_query(&self) -> &'static str {
        if self.is_postgres() {
            "SELECT r.build_id FROM build_runs r JOIN builds b ON b.id = r.build_id
             WHERE b.status = 'started' AND r.expires_at <= $1
             ORDER BY r.build_id LIMIT $2 FOR UPDATE OF r SKIP LOCKED"
        } else {
            "SELECT r.build_id FROM build_runs r JOIN builds b ON b.id = r.build_id
             WHERE b.status = 'started' AND r.expires_at <= $1
             ORDER BY r.build_id LIMIT $2"
        }
    }

    /// Tells the other servers, in one notification, what this transaction changes once it is committed.
    pub(crate) async fn notify(&mut self, sender: &str) -> Result<()> {
        if !self.is_postgres() || self.changes().is_empty() {
            return Ok(());
        }
        let payload = payload(sender, self.changes());
        self.rows(
            "SELECT 1 AS sent FROM (SELECT pg_notify($1, $2)) AS told",
            args![CHANNEL, payload],
        )
        .await
        .map(drop)
    }
}

/// A notification's text: the sender and the changes in short.
fn payload(sender: &str, changes: &BTreeSet<Change>) -> String {
    let words: Vec<String> = changes.iter().map(|change| word(*change)).collect();
    let text = format!("{sender} {}", words.join(" "));
    if text.len() > MAX_PAYLOAD { format!("{sender} {}", word(Change::Everything)) } else { text }
}

fn word(change: Change) -> String {
    match change {
        Change::Everything => "*".into(),
        Change::Build(BuildId(id)) => format!("b{id}"),
        Change::BuildQueued => "q".into(),
        Change::Job(JobId(id)) => format!("j{id}"),
        Change::CheckRequested => "c".into(),
        Change::Component => "p".into(),
    }
}

/// What a notification says, and nothing for our own.
pub(crate) fn parse_payload(payload: &str, own: &str) -> Vec<Change> {
    let mut words = payload.split(' ');
    if words.next() == Some(own) {
        return Vec::new();
    }
    words.map(|word| parse_word(word).unwrap_or(Change::Everything)).collect()
}

fn parse_word(word: &str) -> Option<Change> {
    let id = || word.get(1..).and_then(|id| id.parse().ok());
    match word.as_bytes().first()? {
        b'b' => id().map(|id| Change::Build(BuildId(id))),
        b'j' => id().map(|id| Change::Job(JobId(id))),
        b'q' => Some(Change::BuildQueued),
        b'c' => Some(Change::CheckRequested),
        b'p' => Some(Change::Component),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
