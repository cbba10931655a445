//! What is kept of ended builds.

use jb_model::{BuildId, JobId, Timestamp};

use super::RetentionBuild;
use crate::jobs::status;
use crate::sql::{args, id_list};
use crate::store::transact;
use crate::{Change, Result, Store};

impl Store {
    /// Jobs that have ended builds whose log was not removed.
    pub async fn jobs_with_logs(&self) -> Result<Vec<JobId>> {
        let sql = "SELECT DISTINCT job_id FROM builds
                   WHERE completed = 1 AND reap_time IS NULL AND job_id IS NOT NULL ORDER BY job_id";
        let rows = self.rows(sql, &[]).await?;
        rows.iter().map(|row| row.req_int("job_id").map(JobId)).collect()
    }

    /// A job's ended builds that still have a log, newest first.
    pub async fn builds_with_logs(&self, job: JobId, limit: u32) -> Result<Vec<RetentionBuild>> {
        let sql = "SELECT id, status, end_time, drained FROM builds
                   WHERE job_id = $1 AND completed = 1 AND reap_time IS NULL
                   ORDER BY id DESC LIMIT $2";
        let rows = self.rows(sql, args![job, limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(RetentionBuild {
                    id: BuildId(row.req_int("id")?),
                    status: status(row, "status")?,
                    end_time: row.opt_time("end_time")?,
                    drained: row.req_bool("drained")?,
                })
            })
            .collect()
    }

    /// Removes the logs of ended builds, sets their reap time and advances their jobs' first logged build.
    pub async fn delete_logs(&self, builds: &[BuildId], now: Timestamp) -> Result<()> {
        let ids = id_list(builds.iter().map(|build| build.0));
        transact!(self, async |tx| {
            let reaped = tx
                .rows(
                    "UPDATE builds SET reap_time = $2
                     WHERE id IN (SELECT value FROM json_each($1)) AND completed = 1
                     RETURNING id, coalesce(job_id, 0) AS job_id",
                    args![&ids, now],
                )
                .await?;
            let mut jobs = std::collections::BTreeSet::new();
            for row in &reaped {
                let id = row.req_int("id")?;
                jobs.insert(row.req_int("job_id")?);
                for sql in [
                    "DELETE FROM event_segments WHERE build_id = $1",
                    "DELETE FROM transcript_segments WHERE build_id = $1",
                    "DELETE FROM event_positions WHERE build_id = $1",
                    "DELETE FROM machine_events WHERE build_id = $1",
                ] {
                    tx.execute(sql, args![id]).await?;
                }
                tx.changed(Change::Build(BuildId(id)));
            }
            tx.execute(
                "UPDATE jobs SET first_logged_build_id = (SELECT min(b.id) FROM builds b
                 WHERE b.job_id = jobs.id AND b.reap_time IS NULL)
                 WHERE id IN (SELECT value FROM json_each($1))",
                args![id_list(jobs)],
            )
            .await
            .map(drop)
        })
    }

    /// Ended builds whose log was not handed to the syslog drain yet, oldest first.
    pub async fn undrained_builds(&self, limit: u32) -> Result<Vec<BuildId>> {
        let sql = "SELECT id FROM builds WHERE completed = 1 AND drained = 0 ORDER BY id LIMIT $1";
        let rows = self.rows(sql, args![limit]).await?;
        rows.iter().map(|row| row.req_int("id").map(BuildId)).collect()
    }

    pub async fn set_drained(&self, build: BuildId) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE builds SET drained = 1 WHERE id = $1";
            tx.execute(sql, args![build]).await.map(drop)
        })
    }

    /// Deletes ended check builds of a resource except its last, and those of before `before`. Returns how many.
    pub async fn delete_old_checks(&self, before: Timestamp, limit: u32) -> Result<u64> {
        transact!(self, async |tx| {
            tx.execute(
                "DELETE FROM builds WHERE id IN (SELECT b.id FROM builds b
                 WHERE b.resource_id IS NOT NULL AND b.completed = 1 AND b.end_time < $1
                 AND b.id NOT IN (SELECT s.last_check_build_id FROM scopes s
                                  WHERE s.last_check_build_id IS NOT NULL)
                 ORDER BY b.id LIMIT $2)",
                args![before, limit],
            )
            .await
        })
    }
}
