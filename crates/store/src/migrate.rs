//! Bringing the schema up to date.
//!
//! Migrations only go forward, are embedded, and are recorded with the checksum of their text. All that are missing
//! run in one transaction under a lock, so that servers starting together do not meet half a schema.

use jb_model::Timestamp;

use crate::dialect::Lock;
use crate::seal::hex_digest;
use crate::sql::{Tx, args};
use crate::{Error, Result};

/// One step of the schema, for both engines.
pub(crate) struct Migration {
    pub(crate) number: i64,
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

/// All migrations in order.
pub(crate) const MIGRATIONS: &[Migration] = migrations![
    1 "0001_initial",
    2 "0002_pipeline_user_data",
    3 "0003_transcripts",
    4 "0004_approvals",
    5 "0005_agent_usage",
    6 "0006_approvals_of_calls"
];

const RECORD: &str = "CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)";

/// Applies what is missing.
pub(crate) async fn migrate(tx: &mut Tx, migrations: &[Migration], now: Timestamp) -> Result<()> {
    tx.lock(Lock::Schema).await?;
    tx.script(RECORD).await?;
    let applied =
        tx.rows("SELECT number, name, checksum FROM migrations ORDER BY number", &[]).await?;
    for row in &applied {
        let number = row.req_int("number")?;
        let Some(known) = migrations.iter().find(|migration| migration.number == number) else {
            return Err(Error::Schema {
                reason: format!(
                    "migration {} was applied by a newer server; start that one",
                    row.req_str("name")?
                ),
            });
        };
        if row.req_str("checksum")? != hex_digest(text(tx, known)) {
            return Err(Error::Schema {
                reason: format!("migration {} was applied with another text", known.name),
            });
        }
    }
    for migration in migrations.iter().skip(applied.len()) {
        tracing::info!(migration = migration.name, "applying migration");
        tx.script(text(tx, migration)).await?;
        tx.execute(
            "INSERT INTO migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
            args![migration.number, migration.name, hex_digest(text(tx, migration)), now],
        )
        .await?;
    }
    Ok(())
}

const fn text(tx: &Tx, migration: &Migration) -> &'static str {
    if tx.is_postgres() { migration.postgres } else { migration.sqlite }
}
