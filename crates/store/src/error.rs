//! What can go wrong with what is kept.

/// Short for results of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be opened or reached.
    #[error("cannot open the database `{url}`: {reason}")]
    Open { url: String, reason: String },
    /// The file is no SQLite database, or it is damaged.
    #[error("the database cannot be read: {reason}; restore it from a backup")]
    Unreadable { reason: String },
    /// Another process holds the database.
    #[error(
        "the database is locked by another process: {reason}; stop that process or use PostgreSQL for several servers"
    )]
    Locked { reason: String },
    /// No room for what was to be written.
    #[error("the database has no room left: {reason}; free some space on its disk")]
    Full { reason: String },
    /// So little is left of the disk that it is kept for what matters more than logs.
    #[error("the disk that `{path}` is on is full; free some space on it")]
    NoRoomForLogs { path: String },
    /// The database was made by another, usually newer, server.
    #[error("the database's schema does not fit this server: {reason}")]
    Schema { reason: String },
    /// Stored secrets were sealed with another key.
    #[error(
        "the encryption key is not the one this database was sealed with; give the right key, or the former one as the old key to rotate"
    )]
    WrongEncryptionKey,
    /// Stored secrets are sealed and no key was given.
    #[error("this database is encrypted and no encryption key was given")]
    MissingEncryptionKey,
    /// The key itself is unusable.
    #[error("the encryption key is unusable: {reason}")]
    BadEncryptionKey { reason: String },
    /// The transaction collided with others again and again.
    #[error("the transaction kept colliding with others: {reason}; try again")]
    Collided { reason: String },
    /// The database refused a statement.
    #[error("the database refused `{statement}`: {reason}")]
    Statement { statement: &'static str, reason: String },
    /// A stored value is not what the schema promises.
    #[error("column `{column}` holds {found} where {wanted} was expected")]
    Column { column: String, wanted: &'static str, found: &'static str },
    /// A stored text does not decode.
    #[error("stored {what} does not decode: {reason}")]
    Stored { what: &'static str, reason: String },
    /// Something named by the caller is not there (any more).
    #[error("{what} `{name}` not found")]
    NotFound { what: &'static str, name: String },
    /// A name that must be unique is taken.
    #[error("{what} `{name}` already exists")]
    Exists { what: &'static str, name: String },
    /// The pipeline was changed since the caller read it.
    #[error("comparison with existing config failed during save")]
    ConfigVersion,
    /// Someone else drives this build now; stop working on it.
    #[error("the lease on build {build} is lost")]
    FenceLost { build: i64 },
    /// The request contradicts what is stored or is out of bounds.
    #[error("{reason}")]
    Refused { reason: String },
}

impl Error {
    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}
