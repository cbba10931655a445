//! Trying the encryption key at opening, and sealing everything anew when it changed.

use crate::dialect::Lock;
use crate::sql::{Tx, args};
use crate::{Error, Result};

/// How many rows are read and sealed anew at a time.
const BATCH: i64 = 200;

/// A sealed column of a table with numbered rows: its name, how rows are listed, and how one is replaced.
struct SealedColumn {
    name: &'static str,
    list: &'static str,
    update: &'static str,
}

macro_rules! sealed_column {
    ($table:literal, $column:literal, $key:literal) => {
        SealedColumn {
            name: concat!($table, ".", $column),
            list: concat!(
                "SELECT ",
                $key,
                " AS row_key, ",
                $column,
                " AS stored FROM ",
                $table,
                " WHERE ",
                $column,
                " IS NOT NULL AND ",
                $key,
                " > $1 ORDER BY ",
                $key,
                " LIMIT $2"
            ),
            update: concat!("UPDATE ", $table, " SET ", $column, " = $2 WHERE ", $key, " = $1"),
        }
    };
}

const BY_NUMBER: &[SealedColumn] = &[
    sealed_column!("pipelines", "config", "id"),
    sealed_column!("jobs", "config", "id"),
    sealed_column!("resources", "config", "id"),
    sealed_column!("builds", "plan", "id"),
];

/// Tries the keys on the probe; when it is not sealed with the current key, seals everything anew.
pub(crate) async fn rotate(tx: &mut Tx) -> Result<()> {
    tx.lock(Lock::Schema).await?;
    let Some(row) = tx.row("SELECT probe FROM sealing WHERE id = 1", &[]).await? else {
        let probe = tx.seal().seal("sealing.probe", "{}".into())?;
        tx.execute("INSERT INTO sealing (id, probe) VALUES (1, $1)", args![probe]).await?;
        return Ok(());
    };
    let stored = row.req_text("probe")?;
    // A wrong or missing key is found out here, before anything is served.
    let probe = match tx.seal().open("sealing.probe", stored.clone()) {
        Err(Error::Stored { .. }) => return Err(Error::WrongEncryptionKey),
        other => other?,
    };
    if !tx.seal().is_stale(&stored) {
        return Ok(());
    }
    tracing::info!("the encryption key changed, sealing everything anew");
    for column in BY_NUMBER {
        reseal(tx, column).await?;
    }
    reseal_machine_events(tx).await?;
    reseal_vars(tx).await?;
    reseal_containers(tx).await?;
    reseal_settings(tx).await?;
    let probe = tx.seal().seal("sealing.probe", probe)?;
    tx.execute("UPDATE sealing SET probe = $1 WHERE id = 1", args![probe]).await.map(drop)
}

fn anew(tx: &Tx, column: &'static str, stored: String) -> Result<String> {
    let text = tx.seal().open(column, stored)?;
    tx.seal().seal(column, text)
}

async fn reseal(tx: &mut Tx, column: &SealedColumn) -> Result<()> {
    let mut after = i64::MIN;
    loop {
        let rows = tx.rows(column.list, args![after, BATCH]).await?;
        for row in &rows {
            after = row.req_int("row_key")?;
            let sealed = anew(tx, column.name, row.req_text("stored")?)?;
            tx.execute(column.update, args![after, sealed]).await?;
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

async fn reseal_machine_events(tx: &mut Tx) -> Result<()> {
    let mut after = (i64::MIN, i64::MIN);
    loop {
        let rows = tx
            .rows(
                "SELECT build_id, seq, body FROM machine_events
                 WHERE build_id > $1 OR (build_id = $1 AND seq > $2)
                 ORDER BY build_id, seq LIMIT $3",
                args![after.0, after.1, BATCH],
            )
            .await?;
        for row in &rows {
            after = (row.req_int("build_id")?, row.req_int("seq")?);
            let sealed = anew(tx, "machine_events.body", row.req_text("body")?)?;
            tx.execute(
                "UPDATE machine_events SET body = $3 WHERE build_id = $1 AND seq = $2",
                args![after.0, after.1, sealed],
            )
            .await?;
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

async fn reseal_vars(tx: &mut Tx) -> Result<()> {
    let mut after = i64::MIN;
    // One build's vars are few; builds are many.
    while let Some(row) = tx
        .row("SELECT min(build_id) AS build_id FROM build_vars WHERE build_id > $1", args![after])
        .await?
    {
        let Some(build) = row.opt_int("build_id")? else { break };
        after = build;
        let vars = tx
            .rows("SELECT scope, name, value FROM build_vars WHERE build_id = $1", args![build])
            .await?;
        for row in vars {
            let sealed = anew(tx, "build_vars.value", row.req_text("value")?)?;
            tx.execute(
                "UPDATE build_vars SET value = $4 WHERE build_id = $1 AND scope = $2 AND name = $3",
                args![build, row.req_str("scope")?, row.req_str("name")?, sealed],
            )
            .await?;
        }
    }
    Ok(())
}

async fn reseal_containers(tx: &mut Tx) -> Result<()> {
    let rows =
        tx.rows("SELECT handle, process FROM containers WHERE process IS NOT NULL", &[]).await?;
    for row in rows {
        let sealed = anew(tx, "containers.process", row.req_text("process")?)?;
        tx.execute(
            "UPDATE containers SET process = $2 WHERE handle = $1",
            args![row.req_str("handle")?, sealed],
        )
        .await?;
    }
    Ok(())
}

async fn reseal_settings(tx: &mut Tx) -> Result<()> {
    for row in tx.rows("SELECT name, value FROM settings", &[]).await? {
        let sealed = anew(tx, "settings.value", row.req_text("value")?)?;
        tx.execute(
            "UPDATE settings SET value = $2 WHERE name = $1",
            args![row.req_str("name")?, sealed],
        )
        .await?;
    }
    Ok(())
}
