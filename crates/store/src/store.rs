//! The store itself: opening it, its transactions, and the keys of what it seals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jb_metrics::{Database, Metrics};
use jb_model::{Timestamp, Value};
use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::{Notify, Semaphore, broadcast, watch};

use crate::checkpoint;
use crate::dialect::{CHANNEL, Engine, parse_payload};
use crate::migrate::{MIGRATIONS, migrate};
use crate::rotate::rotate;
use crate::seal::Seal;
use crate::sql::{Arg, Row, Tx, TxConn, rows_postgres, rows_sqlite};
use crate::{Change, Error, Result};

/// A key for what is sealed at rest.
#[derive(Clone)]
pub struct EncryptionKey(pub(crate) [u8; 32]);

/// How to open a store.
#[derive(Clone, Default)]
pub struct Options {
    /// Seals configurations, plans, machine events, vars and settings. Without it they are kept as plain text.
    pub encryption_key: Option<EncryptionKey>,
    /// The former key: what it sealed is sealed anew with `encryption_key`, or opened if there is none.
    pub old_key: Option<EncryptionKey>,
    /// Counts what is asked of the database.
    pub metrics: Metrics,
}

/// Everything that is kept. Clones share one database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    allowance: Option<Arc<Allowance>>,
}

/// How many transactions a store may still begin; those after never do. So tests stop a server between any two
/// of its writes.
#[derive(Debug)]
pub struct Allowance {
    left: AtomicU64,
    spent: watch::Sender<bool>,
}

impl Allowance {
    pub fn new(n_transactions: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(n_transactions), spent: watch::Sender::new(false) })
    }

    /// Returns when a transaction was refused.
    pub async fn spent(&self) {
        // The sender is in `self`.
        let _ = self.spent.subscribe().wait_for(|spent| *spent).await;
    }

    async fn take(&self) {
        let take = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.spent.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

struct Inner {
    engine: Engine,
    seal: Arc<Seal>,
    changes: broadcast::Sender<Change>,
    /// Tells our own notifications from those of other servers.
    name: String,
    committed: Arc<Notify>,
    /// Listens to other servers, or moves what was committed where it belongs.
    companion: tokio::task::AbortHandle,
    counts: Database,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.companion.abort();
    }
}

/// Nudges a slow subscriber may be behind before it has to re-read everything.
const CHANGE_BACKLOG: usize = 4_096;
/// How often a transaction that collided with others is tried.
const MAX_TRIES: u32 = 12;
/// How long to wait before listening again after the connection broke.
const RELISTEN: Duration = Duration::from_secs(1);

impl Store {
    /// Opens `sqlite:path`, `sqlite::memory:` or `postgres://...`, brings the schema up to date under a lock,
    /// and tries or rotates the encryption key.
    pub async fn open(url: &str, options: Options, now: Timestamp) -> Result<Self> {
        let engine = Engine::open(url).await?;
        let seal = Seal::new(options.encryption_key.as_ref(), options.old_key.as_ref());
        let (changes, _) = broadcast::channel(CHANGE_BACKLOG);
        let name = instance_name()?;
        let committed = Arc::new(Notify::new());
        let companion = match &engine {
            Engine::Sqlite { readers, reserve, .. } => {
                let task = checkpoint::run(readers.clone(), reserve.clone(), committed.clone());
                tokio::spawn(task).abort_handle()
            }
            Engine::Postgres { pool, .. } => {
                let task =
                    listen(connect(pool).await?, pool.clone(), changes.clone(), name.clone());
                tokio::spawn(task).abort_handle()
            }
        };
        let seal = Arc::new(seal);
        let counts = options.metrics.database;
        let inner = Inner { engine, seal, changes, name, committed, companion, counts };
        let store = Self { inner: Arc::new(inner), allowance: None };
        transact!(store, async |tx| {
            migrate(tx, MIGRATIONS, now).await?;
            rotate(tx).await
        })?;
        Ok(store)
    }

    /// Changes from now on, of this server and, on PostgreSQL, of the others. A receiver that lags behind has
    /// to treat that as [`Change::Everything`].
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// The same store for someone who may begin only so many transactions.
    pub fn limited(&self, allowance: Arc<Allowance>) -> Self {
        Self { inner: Arc::clone(&self.inner), allowance: Some(allowance) }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.rows("SELECT 1 AS alive", &[]).await.map(drop)
    }

    /// Counts the connections that are open now.
    pub fn count_connections(&self) {
        let counts = &self.inner.counts;
        match &self.inner.engine {
            Engine::Sqlite { writer, readers, .. } => {
                counts.connections("writer", writer.size());
                counts.connections("readers", readers.size());
            }
            Engine::Postgres { pool, .. } => counts.connections("pool", pool.size()),
        }
    }

    /// Closes all connections; for an orderly end.
    pub async fn close(&self) {
        self.inner.companion.abort();
        match &self.inner.engine {
            Engine::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres { pool, .. } => pool.close().await,
        }
    }

    /// One query on its own, which sees what is committed.
    pub(crate) async fn rows(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        self.inner.counts.query();
        match &self.inner.engine {
            Engine::Sqlite { readers, .. } => rows_sqlite(readers, sql, args).await,
            Engine::Postgres { pool, .. } => rows_postgres(pool, sql, args).await,
        }
    }

    /// The first row of one query on its own.
    pub(crate) async fn row(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Commits or rolls back what `transact!` did; nothing when it collided and is worth another try.
    pub(crate) async fn end<T>(
        &self,
        tx: Tx,
        done: Result<T>,
        tries: &mut u32,
    ) -> Option<Result<T>> {
        *tries += 1;
        match self.try_end(tx, done).await {
            Err(Error::Collided { reason }) if *tries < MAX_TRIES => {
                tracing::debug!(reason, tries, "transaction collided, trying again");
                tokio::time::sleep(Duration::from_millis(u64::from(*tries * *tries))).await;
                None
            }
            other => Some(other),
        }
    }

    async fn try_end<T>(&self, mut tx: Tx, done: Result<T>) -> Result<T> {
        // Dropping the transaction on an error rolls it back.
        let value = done?;
        tx.notify(&self.inner.name).await?;
        let changes = tx.commit().await?;
        self.inner.committed.notify_one();
        for change in changes {
            // Without subscribers there is nobody to tell.
            let _ = self.inner.changes.send(change);
        }
        Ok(value)
    }

    /// Bounds the turns over jobs, where other servers may use the same database.
    pub(crate) fn turns(&self) -> Option<Arc<Semaphore>> {
        match &self.inner.engine {
            Engine::Postgres { turns, .. } => Some(turns.clone()),
            Engine::Sqlite { .. } => None,
        }
    }

    /// Refuses when the disk is too full for logs.
    pub(crate) fn room_for_logs(&self) -> Result<()> {
        match &self.inner.engine {
            Engine::Sqlite { reserve: Some(reserve), .. } => reserve.room_for_logs(),
            Engine::Sqlite { .. } | Engine::Postgres { .. } => Ok(()),
        }
    }

    pub(crate) async fn begin(&self) -> Result<Tx> {
        if let Some(allowance) = &self.allowance {
            allowance.take().await;
        }
        let conn = match &self.inner.engine {
            Engine::Sqlite { writer, .. } => {
                writer.begin_with("BEGIN IMMEDIATE").await.map(TxConn::Sqlite)
            }
            Engine::Postgres { pool, .. } => pool.begin().await.map(TxConn::Postgres),
        };
        let conn = conn.map_err(|error| crate::dialect::classify("BEGIN", &error))?;
        Ok(Tx::new(conn, Arc::clone(&self.inner.seal), self.inner.counts.clone()))
    }

    /// The JSON of a sealed column.
    pub(crate) fn unsealed(&self, column: &'static str, stored: String) -> Result<Value> {
        let text = self.inner.seal.open(column, stored)?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Stored { what: column, reason: error.to_string() })
    }

    /// The text of a sealed column.
    pub(crate) fn unsealed_text(&self, column: &'static str, stored: String) -> Result<String> {
        self.inner.seal.open(column, stored)
    }
}

/// Runs its body in one transaction, again when that collided with others, and gives the body's result. The
/// changes it announces are sent after the commit.
///
/// This is a macro because a closure's future cannot be bound to `Send` yet.
macro_rules! transact {
    ($store:expr, async |$tx:ident| $body:expr $(,)?) => {{
        let mut tries = 0_u32;
        loop {
            let mut transaction = $store.begin().await?;
            let $tx = &mut transaction;
            let done = $crate::store::body(async { $body }).await;
            if let Some(result) = $store.end(transaction, done, &mut tries).await {
                break result;
            }
        }
    }};
}
pub(crate) use transact;

/// Tells the compiler what a transaction's body gives.
pub(crate) fn body<T, F: Future<Output = Result<T>>>(future: F) -> F {
    future
}

fn instance_name() -> Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::Refused {
        reason: format!("no random name for this server: {error}"),
    })?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

async fn connect(pool: &PgPool) -> Result<PgListener> {
    let failed = |error: sqlx::Error| crate::dialect::classify("LISTEN", &error);
    let mut listener = PgListener::connect_with(pool).await.map_err(failed)?;
    listener.listen(CHANNEL).await.map_err(failed)?;
    Ok(listener)
}

/// Passes other servers' changes on until it is stopped.
async fn listen(first: PgListener, pool: PgPool, changes: broadcast::Sender<Change>, own: String) {
    let mut listener = Some(first);
    loop {
        let Some(connected) = &mut listener else {
            match connect(&pool).await {
                Ok(connected) => {
                    listener = Some(connected);
                    let _ = changes.send(Change::Everything);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot listen for changes of other servers");
                    tokio::time::sleep(RELISTEN).await;
                }
            }
            continue;
        };
        match connected.try_recv().await {
            Ok(Some(notification)) => {
                for change in parse_payload(notification.payload(), &own) {
                    let _ = changes.send(change);
                }
            }
            Ok(None) | Err(_) => listener = None,
        }
    }
}
