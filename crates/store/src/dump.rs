//! Everything the resolver of inputs goes by in one pipeline, for people who ask why it chose what it chose.

use jb_model::{BuildId, JobId, PipelineId, ResourceId, ScopeId, VersionId};

use crate::sql::{Row, args};
use crate::{Result, Store};

/// Most rows of any list of a dump.
pub const DUMP_ROWS_MAX: u32 = 100_000;

/// Active jobs and resources of a pipeline, and the enabled versions that builds used and made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsDump {
    pub jobs: Vec<(JobId, String)>,
    /// Without a scope until the first check.
    pub resources: Vec<(ResourceId, String, Option<ScopeId>)>,
    pub versions: Vec<DumpedVersion>,
    /// What succeeded builds made.
    pub outputs: Vec<DumpedUse>,
    /// What any build used.
    pub inputs: Vec<DumpedUse>,
    pub reruns: Vec<DumpedRerun>,
}

/// A version as a resource has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpedVersion {
    pub version: VersionId,
    pub resource: ResourceId,
    pub scope: ScopeId,
    pub check_order: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedUse {
    pub version: DumpedVersion,
    pub build: BuildId,
    pub job: JobId,
    /// The input's or output's.
    pub name: String,
    pub succeeded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpedRerun {
    pub build: BuildId,
    pub job: JobId,
    pub of: BuildId,
}

/// Uses of enabled versions by builds of jobs; `$1` is the pipeline, `$2` the limit.
macro_rules! uses {
    ($table:literal, $narrow:literal) => {
        concat!(
            "SELECT v.id AS version_id, v.scope_id, v.check_order, r.id AS resource_id, u.build_id, u.name,
             b.job_id, CASE WHEN b.status = 'succeeded' THEN 1 ELSE 0 END AS succeeded
             FROM ",
            $table,
            " u JOIN resources r ON r.id = u.resource_id
             JOIN versions v ON v.scope_id = r.scope_id AND v.digest = u.digest
             JOIN builds b ON b.id = u.build_id
             WHERE r.pipeline_id = $1 AND r.kind = 'resource' AND r.active = 1 AND b.job_id IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1 FROM disabled_versions d WHERE d.resource_id = r.id AND d.digest = v.digest)",
            $narrow,
            " ORDER BY u.build_id, u.name, v.id LIMIT $2"
        )
    };
}

impl Store {
    /// Dumps a pipeline; none when a list would have more than [`DUMP_ROWS_MAX`] rows.
    pub async fn dump_versions(&self, pipeline: PipelineId) -> Result<Option<VersionsDump>> {
        let jobs = "SELECT id, name FROM jobs WHERE pipeline_id = $1 AND active = 1
                    ORDER BY id LIMIT $2";
        let resources = "SELECT id, name, scope_id FROM resources
                         WHERE pipeline_id = $1 AND active = 1 AND kind = 'resource'
                         ORDER BY id LIMIT $2";
        let versions = "SELECT v.id AS version_id, v.scope_id, v.check_order, r.id AS resource_id
                        FROM resources r JOIN versions v ON v.scope_id = r.scope_id
                        WHERE r.pipeline_id = $1 AND r.active = 1 AND r.kind = 'resource'
                        AND NOT EXISTS (SELECT 1 FROM disabled_versions d
                                        WHERE d.resource_id = r.id AND d.digest = v.digest)
                        ORDER BY r.id, v.check_order, v.id LIMIT $2";
        let outputs = uses!("build_outputs", " AND b.status = 'succeeded'");
        let inputs = uses!("build_inputs", "");
        let reruns =
            "SELECT b.id, b.job_id, b.rerun_of FROM builds b JOIN jobs j ON j.id = b.job_id
                      WHERE b.pipeline_id = $1 AND j.active = 1 AND b.rerun_of IS NOT NULL
                      ORDER BY b.id LIMIT $2";
        let mut lists = Vec::new();
        for sql in [jobs, resources, versions, outputs, inputs, reruns] {
            // One more than is allowed tells that there are too many.
            let rows = self.rows(sql, args![pipeline, DUMP_ROWS_MAX + 1]).await?;
            if rows.len() > DUMP_ROWS_MAX as usize {
                return Ok(None);
            }
            lists.push(rows);
        }
        let mut lists = lists.iter().map(Vec::as_slice);
        let mut next = || lists.next().unwrap_or_default();
        Ok(Some(VersionsDump {
            jobs: each(next(), |row| Ok((JobId(row.req_int("id")?), row.req_text("name")?)))?,
            resources: each(next(), |row| {
                let scope = row.opt_int("scope_id")?.map(ScopeId);
                Ok((ResourceId(row.req_int("id")?), row.req_text("name")?, scope))
            })?,
            versions: each(next(), version)?,
            outputs: each(next(), usage)?,
            inputs: each(next(), usage)?,
            reruns: each(next(), |row| {
                Ok(DumpedRerun {
                    build: BuildId(row.req_int("id")?),
                    job: JobId(row.req_int("job_id")?),
                    of: BuildId(row.req_int("rerun_of")?),
                })
            })?,
        }))
    }
}

fn each<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T>) -> Result<Vec<T>> {
    rows.iter().map(read).collect()
}

fn version(row: &Row) -> Result<DumpedVersion> {
    Ok(DumpedVersion {
        version: VersionId(row.req_int("version_id")?),
        resource: ResourceId(row.req_int("resource_id")?),
        scope: ScopeId(row.req_int("scope_id")?),
        check_order: row.req_int("check_order")?,
    })
}

fn usage(row: &Row) -> Result<DumpedUse> {
    Ok(DumpedUse {
        version: version(row)?,
        build: BuildId(row.req_int("build_id")?),
        job: JobId(row.req_int("job_id")?),
        name: row.req_text("name")?,
        succeeded: row.req_bool("succeeded")?,
    })
}
