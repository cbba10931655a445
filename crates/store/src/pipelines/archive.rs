//! Archiving: a pipeline stops, its configuration is forgotten, its history stays.

use jb_model::{BuildId, JobId, PipelineId, Timestamp};

use crate::sql::{Tx, args};
use crate::store::transact;
use crate::{Change, Result, Store};

/// Who paused a pipeline that was archived.
pub const ARCHIVER: &str = "automatic-pipeline-archiver";

impl Store {
    /// Archives a pipeline and every pipeline its jobs set, recursively: paused, configurations blanked,
    /// version 0, history kept. Returns what was archived.
    pub async fn archive_pipeline(
        &self,
        pipeline: PipelineId,
        now: Timestamp,
    ) -> Result<Vec<PipelineId>> {
        transact!(self, async |tx| archive(tx, vec![pipeline], now).await)
    }

    /// Archives pipelines whose setting job or its pipeline is gone, inactive or archived. For collection.
    pub async fn archive_abandoned_pipelines(&self, now: Timestamp) -> Result<Vec<PipelineId>> {
        transact!(self, async |tx| {
            let rows = tx
                .rows(
                    "SELECT p.id FROM pipelines p LEFT JOIN jobs j ON j.id = p.parent_job_id
                     LEFT JOIN pipelines pp ON pp.id = j.pipeline_id
                     WHERE p.parent_job_id IS NOT NULL AND p.archived = 0
                     AND (pp.id IS NULL OR j.active = 0 OR pp.archived = 1) ORDER BY p.id",
                    &[],
                )
                .await?;
            let ids: Result<Vec<PipelineId>> =
                rows.iter().map(|row| row.req_int("id").map(PipelineId)).collect();
            archive(tx, ids?, now).await
        })
    }
}

/// After a success of `build`: archives what an earlier build of the job set and this one did not.
pub(crate) async fn archive_unset(
    tx: &mut Tx,
    job: JobId,
    build: BuildId,
    now: Timestamp,
) -> Result<()> {
    let rows = tx
        .rows(
            "SELECT id FROM pipelines WHERE parent_job_id = $1 AND parent_build_id < $2
             AND archived = 0 ORDER BY id",
            args![job, build],
        )
        .await?;
    let ids: Result<Vec<PipelineId>> =
        rows.iter().map(|row| row.req_int("id").map(PipelineId)).collect();
    archive(tx, ids?, now).await.map(drop)
}

async fn archive(
    tx: &mut Tx,
    mut waiting: Vec<PipelineId>,
    now: Timestamp,
) -> Result<Vec<PipelineId>> {
    let mut archived = Vec::new();
    while let Some(pipeline) = waiting.pop() {
        let done = tx
            .execute(
                "UPDATE pipelines SET archived = 1, version = 0, config = NULL, paused = 1,
                 paused_by = $2, paused_at = $3, last_updated = $3 WHERE id = $1 AND archived = 0",
                args![pipeline, ARCHIVER, now],
            )
            .await?;
        if done == 0 {
            continue;
        }
        archived.push(pipeline);
        tx.execute("UPDATE jobs SET config = NULL WHERE pipeline_id = $1", args![pipeline]).await?;
        tx.execute("UPDATE resources SET config = NULL WHERE pipeline_id = $1", args![pipeline])
            .await?;
        let children = tx
            .rows(
                "SELECT p.id FROM pipelines p JOIN jobs j ON j.id = p.parent_job_id
                 WHERE j.pipeline_id = $1 AND p.archived = 0 ORDER BY p.id",
                args![pipeline],
            )
            .await?;
        for child in children {
            waiting.push(PipelineId(child.req_int("id")?));
        }
    }
    if !archived.is_empty() {
        tx.changed(Change::CheckRequested);
    }
    Ok(archived)
}
