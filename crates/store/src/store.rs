//! Opening the store.

use jb_model::Timestamp;
use tokio::sync::broadcast;

use crate::{Change, Result};

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
}

/// Everything that is kept.
#[derive(Clone)]
pub struct Store {}

impl EncryptionKey {
    /// Makes a key of a text of at least 16 bytes.
    pub fn new(text: &str) -> Result<Self> {
        unfinished!(text)
    }
}

impl Store {
    /// Opens `sqlite:path`, `sqlite::memory:` or `postgres://...`, brings the schema up to date under a lock,
    /// and tries or rotates the encryption key.
    pub async fn open(url: &str, options: Options, now: Timestamp) -> Result<Self> {
        unfinished!(url, options, now)
    }

    /// Changes from now on, of this server and, on PostgreSQL, of the others. A receiver that lags behind has
    /// to treat that as [`Change::Everything`].
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        broadcast::channel(1).1
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        unfinished!()
    }

    /// Closes all connections; for an orderly end.
    pub async fn close(&self) {}
}
