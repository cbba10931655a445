//! Workers, as far as rows of containers and volumes name them.

use crate::sql::args;
use crate::store::transact;
use crate::{Result, Store};

/// What is recorded of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRows {
    pub name: String,
    pub containers: u64,
    pub volumes: u64,
}

/// What came of [`Store::forget_worker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgetting {
    Forgotten,
    /// Nothing was forgotten: this many builds that run have containers or volumes there.
    InUse(u64),
}

impl Store {
    /// The workers that containers or volumes are on, by name.
    pub async fn recorded_workers(&self) -> Result<Vec<WorkerRows>> {
        let sql = "SELECT worker, CAST(SUM(container) AS BIGINT) AS n_containers,
                          CAST(SUM(volume) AS BIGINT) AS n_volumes
                   FROM (SELECT worker, 1 AS container, 0 AS volume FROM containers
                         UNION ALL SELECT worker, 0 AS container, 1 AS volume FROM volumes) held
                   GROUP BY worker ORDER BY worker";
        let rows = self.rows(sql, args![]).await?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        rows.iter()
            .map(|row| {
                Ok(WorkerRows {
                    name: row.req_text("worker")?,
                    containers: count(row.req_int("n_containers")?),
                    volumes: count(row.req_int("n_volumes")?),
                })
            })
            .collect()
    }

    /// Forgets what is on a worker: containers, volumes and whatever was kept in them. Not while a build runs that has
    /// any of it.
    pub async fn forget_worker(&self, worker: &str) -> Result<Forgetting> {
        transact!(self, async |tx| {
            let in_use = "SELECT COUNT(*) AS n FROM builds b WHERE b.completed = 0 AND (
                     EXISTS (SELECT 1 FROM containers c WHERE c.build_id = b.id AND c.worker = $1)
                     OR EXISTS (SELECT 1 FROM volumes v WHERE v.build_id = b.id AND v.worker = $1)
                     OR EXISTS (SELECT 1 FROM build_artifacts a JOIN volumes v ON v.handle = a.volume
                                WHERE a.build_id = b.id AND v.worker = $1))";
            let row = tx.row(in_use, args![worker]).await?;
            let builds = row.map(|row| row.req_int("n")).transpose()?.unwrap_or_default();
            if builds > 0 {
                return Ok(Forgetting::InUse(u64::try_from(builds).unwrap_or_default()));
            }
            for sql in [
                "DELETE FROM resource_caches
                 WHERE volume IN (SELECT handle FROM volumes WHERE worker = $1)",
                "DELETE FROM task_caches
                 WHERE volume IN (SELECT handle FROM volumes WHERE worker = $1)",
                "DELETE FROM artifacts
                 WHERE volume IN (SELECT handle FROM volumes WHERE worker = $1)",
                "DELETE FROM volumes WHERE worker = $1",
                "DELETE FROM containers WHERE worker = $1",
            ] {
                tx.execute(sql, args![worker]).await?;
            }
            Ok(Forgetting::Forgotten)
        })
    }
}
