//! The message on the wall, the server's components, and small named values.

use std::time::Duration;

use jb_model::{Timestamp, Value};

use crate::sql::args;
use crate::store::transact;
use crate::{Change, Error, Result, Store};

/// The message shown to everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wall {
    pub message: String,
    pub expires_at: Option<Timestamp>,
}

/// A periodic part of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRecord {
    pub name: String,
    pub interval: Duration,
    pub last_ran: Option<Timestamp>,
    pub paused: bool,
}

impl Store {
    /// The message, unless it expired.
    pub async fn wall(&self, now: Timestamp) -> Result<Option<Wall>> {
        let sql = "SELECT message, expires_at FROM wall
                   WHERE id = 1 AND (expires_at IS NULL OR expires_at > $1)";
        let Some(row) = self.row(sql, args![now]).await? else { return Ok(None) };
        Ok(Some(Wall {
            message: row.req_text("message")?,
            expires_at: row.opt_time("expires_at")?,
        }))
    }

    pub async fn set_wall(&self, wall: &Wall) -> Result<()> {
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO wall (id, message, expires_at) VALUES (1, $1, $2)
                 ON CONFLICT (id) DO UPDATE
                 SET message = excluded.message, expires_at = excluded.expires_at",
                args![&wall.message, wall.expires_at],
            )
            .await
            .map(drop)
        })
    }

    pub async fn clear_wall(&self) -> Result<()> {
        transact!(self, async |tx| tx.execute("DELETE FROM wall WHERE id = 1", &[]).await.map(drop))
    }

    /// Makes the known components exactly these, keeping what is recorded of them.
    pub async fn set_components(&self, components: &[(&str, Duration)]) -> Result<()> {
        transact!(self, async |tx| {
            for row in tx.rows("SELECT name FROM components", &[]).await? {
                let known = row.req_str("name")?;
                if !components.iter().any(|(name, _)| *name == known) {
                    tx.execute("DELETE FROM components WHERE name = $1", args![known]).await?;
                }
            }
            for (name, interval) in components {
                tx.execute(
                    "INSERT INTO components (name, interval_us) VALUES ($1, $2)
                     ON CONFLICT (name) DO UPDATE SET interval_us = excluded.interval_us",
                    args![*name, micros(*interval)],
                )
                .await?;
            }
            Ok(())
        })
    }

    /// All components by name.
    pub async fn components(&self) -> Result<Vec<ComponentRecord>> {
        let sql = "SELECT name, interval_us, last_ran, paused FROM components ORDER BY name";
        let rows = self.rows(sql, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(ComponentRecord {
                    name: row.req_text("name")?,
                    interval: Duration::from_micros(row.req_u64("interval_us")?),
                    last_ran: row.opt_time("last_ran")?,
                    paused: row.req_bool("paused")?,
                })
            })
            .collect()
    }

    pub async fn set_component_ran(&self, name: &str, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE components SET last_ran = $2 WHERE name = $1";
            tx.execute(sql, args![name, now]).await.map(drop)
        })
    }

    /// Claims a run of a component that several servers share: true for one of them per interval.
    pub async fn claim_component(&self, name: &str, now: Timestamp) -> Result<bool> {
        transact!(self, async |tx| {
            let claimed = tx
                .execute(
                    "UPDATE components SET last_ran = $2 WHERE name = $1 AND paused = 0
                     AND (last_ran IS NULL OR last_ran + interval_us <= $2)",
                    args![name, now],
                )
                .await?;
            Ok(claimed > 0)
        })
    }

    /// Pauses or resumes one component. False when there is none of that name.
    pub async fn set_component_paused(&self, name: &str, paused: bool) -> Result<bool> {
        transact!(self, async |tx| {
            tx.changed(Change::Component);
            let sql = "UPDATE components SET paused = $2 WHERE name = $1";
            Ok(tx.execute(sql, args![name, paused]).await? > 0)
        })
    }

    pub async fn set_all_components_paused(&self, paused: bool) -> Result<()> {
        transact!(self, async |tx| {
            tx.changed(Change::Component);
            tx.execute("UPDATE components SET paused = $1", args![paused]).await.map(drop)
        })
    }

    /// A named value kept for the server, such as its signing keys. Sealed at rest.
    pub async fn setting(&self, name: &str) -> Result<Option<Value>> {
        let Some(row) = self.row("SELECT value FROM settings WHERE name = $1", args![name]).await?
        else {
            return Ok(None);
        };
        self.unsealed("settings.value", row.req_text("value")?).map(Some)
    }

    /// Sets a named value unless there is one. Returns what is stored then.
    pub async fn setting_or(&self, name: &str, value: &Value) -> Result<Value> {
        transact!(self, async |tx| {
            let sealed = tx.sealed("settings.value", value)?;
            tx.execute(
                "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                args![name, sealed],
            )
            .await
        })?;
        let stored = self.setting(name).await?;
        stored.ok_or_else(|| Error::not_found("setting", name))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
