//! What the resolver of inputs needs to know, in bounded pieces.
//!
//! Version ids are those of the resources' present scopes: a version an old build used is matched by its
//! content, and left out when the present scope does not know it.

use jb_model::{BuildId, JobId, ResourceId, ScopeId, Version, VersionId};

use crate::sql::{Row, args, id_list};
use crate::versions::{contains, select_versions, version_digest};
use crate::{Result, Store};

/// How many versions are read at a time when looking for a pinned one.
const SCAN: u32 = 500;

/// A succeeded build with every version it used or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedBuild {
    pub build: BuildId,
    pub rerun_of: Option<BuildId>,
    /// Inputs and outputs, without repeats, by resource and version.
    pub versions: Vec<(ResourceId, VersionId)>,
}

/// A version in a scope's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeVersion {
    pub id: VersionId,
    pub version: Version,
    pub check_order: i64,
    pub enabled: bool,
}

/// A build that vouched for inputs of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipe {
    pub job: JobId,
    pub build: BuildId,
    pub rerun_of: Option<BuildId>,
}

impl Store {
    /// Succeeded builds of a job, newest first, reruns at the place of their original. `before` continues after
    /// the given `(rerun_of or id, id)`, see [`PassedBuild`].
    pub async fn successful_builds(
        &self,
        job: JobId,
        before: Option<(BuildId, BuildId)>,
        limit: u32,
    ) -> Result<Vec<PassedBuild>> {
        let (sort_id, id) = before.map_or((i64::MAX, i64::MAX), |(sort, id)| (sort.0, id.0));
        let rows = self
            .rows(
                "SELECT id, rerun_of FROM builds WHERE job_id = $1 AND status = 'succeeded'
                 AND (sort_id < $2 OR (sort_id = $2 AND id < $3))
                 ORDER BY sort_id DESC, id DESC LIMIT $4",
                args![job, sort_id, id, limit],
            )
            .await?;
        self.with_versions(&rows).await
    }

    /// Succeeded builds of a job from `after` (its `(rerun_of or id, id)`, exclusive) on, oldest first:
    /// what `version: every` continues with.
    pub async fn successful_builds_after(
        &self,
        job: JobId,
        after: (BuildId, BuildId),
        limit: u32,
    ) -> Result<Vec<PassedBuild>> {
        let rows = self
            .rows(
                "SELECT id, rerun_of FROM builds WHERE job_id = $1 AND status = 'succeeded'
                 AND (sort_id > $2 OR (sort_id = $2 AND id > $3))
                 ORDER BY sort_id, id LIMIT $4",
                args![job, after.0, after.1, limit],
            )
            .await?;
        self.with_versions(&rows).await
    }

    /// Succeeded builds of a job that used or made a version, newest first.
    pub async fn successful_builds_with_version(
        &self,
        job: JobId,
        resource: ResourceId,
        version: VersionId,
        limit: u32,
    ) -> Result<Vec<PassedBuild>> {
        let rows = self
            .rows(
                "SELECT b.id, b.rerun_of FROM builds b WHERE b.job_id = $1 AND b.status = 'succeeded'
                 AND b.id IN (
                     SELECT i.build_id FROM build_inputs i JOIN versions v ON v.digest = i.digest
                     WHERE i.resource_id = $2 AND v.id = $3
                     UNION SELECT o.build_id FROM build_outputs o JOIN versions v ON v.digest = o.digest
                     WHERE o.resource_id = $2 AND v.id = $3)
                 ORDER BY b.sort_id DESC, b.id DESC LIMIT $4",
                args![job, resource, version, limit],
            )
            .await?;
        self.with_versions(&rows).await
    }

    /// A resource's versions below `before` in its history, newest first.
    pub async fn versions_before(
        &self,
        resource: ResourceId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ScopeVersion>> {
        let sql = select_versions!(
            "WHERE r.id = $1 AND v.check_order < $2
             ORDER BY v.check_order DESC LIMIT $3"
        );
        let rows = self.rows(sql, args![resource, before.unwrap_or(i64::MAX), limit]).await?;
        rows.iter().map(scope_version).collect()
    }

    /// A resource's versions above `after` in its history, oldest first.
    pub async fn versions_after(
        &self,
        resource: ResourceId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ScopeVersion>> {
        let sql = select_versions!(
            "WHERE r.id = $1 AND v.check_order > $2
             ORDER BY v.check_order LIMIT $3"
        );
        let rows = self.rows(sql, args![resource, after, limit]).await?;
        rows.iter().map(scope_version).collect()
    }

    /// The newest enabled version of a resource.
    pub async fn latest_enabled(&self, resource: ResourceId) -> Result<Option<ScopeVersion>> {
        let sql = select_versions!(
            "WHERE r.id = $1 AND NOT EXISTS (
                 SELECT 1 FROM disabled_versions d WHERE d.resource_id = r.id AND d.digest = v.digest)
             ORDER BY v.check_order DESC LIMIT 1"
        );
        self.row(sql, args![resource]).await?.as_ref().map(scope_version).transpose()
    }

    /// The newest version of a resource that contains `partial`, enabled or not: what a pin selects.
    pub async fn pinned_version(
        &self,
        resource: ResourceId,
        partial: &Version,
    ) -> Result<Option<ScopeVersion>> {
        let sql = select_versions!("WHERE r.id = $1 AND v.digest = $2");
        if let Some(row) = self.row(sql, args![resource, version_digest(partial)]).await? {
            return scope_version(&row).map(Some);
        }
        let mut before = None;
        loop {
            let versions = self.versions_before(resource, before, SCAN).await?;
            let Some(last) = versions.last() else { return Ok(None) };
            before = Some(last.check_order);
            if let Some(found) = versions.into_iter().find(|v| contains(&v.version, partial)) {
                return Ok(Some(found));
            }
        }
    }

    /// One version as a resource sees it, by id.
    pub async fn scope_version(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Option<ScopeVersion>> {
        let sql = select_versions!("WHERE r.id = $1 AND v.id = $2");
        let row = self.row(sql, args![resource, version]).await?;
        row.as_ref().map(scope_version).transpose()
    }

    /// The version this input of the job used that stands highest in the resource's history.
    pub async fn newest_used(
        &self,
        job: JobId,
        input: &str,
        resource: ResourceId,
    ) -> Result<Option<ScopeVersion>> {
        // Walks the history from its end, where what was used last is near.
        let sql = select_versions!(
            "WHERE r.id = $3 AND EXISTS (
                 SELECT 1 FROM build_inputs i WHERE i.job_id = $1 AND i.name = $2
                 AND i.resource_id = r.id AND i.digest = v.digest)
             ORDER BY v.check_order DESC LIMIT 1"
        );
        let row = self.row(sql, args![job, input, resource]).await?;
        row.as_ref().map(scope_version).transpose()
    }

    /// Whether no build of the job ever used this version by this input.
    pub async fn is_first_occurrence(
        &self,
        job: JobId,
        input: &str,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<bool> {
        let sql = "SELECT 1 AS used FROM build_inputs i JOIN versions v ON v.digest = i.digest
                   WHERE i.job_id = $1 AND i.name = $2 AND i.resource_id = $3 AND v.id = $4 LIMIT 1";
        Ok(self.row(sql, args![job, input, resource, version]).await?.is_none())
    }

    /// The job's newest build (reruns at their original's place) that used the resource.
    pub async fn latest_build_using(
        &self,
        job: JobId,
        resource: ResourceId,
    ) -> Result<Option<BuildId>> {
        let sql = "SELECT b.id FROM builds b WHERE b.job_id = $1 AND EXISTS (
                       SELECT 1 FROM build_inputs i WHERE i.build_id = b.id AND i.resource_id = $2)
                   ORDER BY b.sort_id DESC, b.id DESC LIMIT 1";
        let row = self.row(sql, args![job, resource]).await?;
        row.map(|row| row.req_int("id").map(BuildId)).transpose()
    }

    /// The builds that vouched for the inputs of a build.
    pub async fn pipes_of(&self, build: BuildId) -> Result<Vec<Pipe>> {
        let sql = "SELECT b.id, b.job_id, b.rerun_of FROM build_pipes p
                   JOIN builds b ON b.id = p.from_build_id
                   WHERE p.to_build_id = $1 AND b.job_id IS NOT NULL ORDER BY b.id";
        let rows = self.rows(sql, args![build]).await?;
        rows.iter()
            .map(|row| {
                Ok(Pipe {
                    job: JobId(row.req_int("job_id")?),
                    build: BuildId(row.req_int("id")?),
                    rerun_of: row.opt_int("rerun_of")?.map(BuildId),
                })
            })
            .collect()
    }

    /// The scope of a resource with its size: `(scope, number of versions in its history)`.
    pub async fn scope_of(&self, resource: ResourceId) -> Result<Option<(ScopeId, u64)>> {
        let sql = "SELECT r.scope_id, (SELECT count(*) FROM versions v
                   WHERE v.scope_id = r.scope_id) AS n_versions
                   FROM resources r WHERE r.id = $1 AND r.scope_id IS NOT NULL";
        let Some(row) = self.row(sql, args![resource]).await? else { return Ok(None) };
        Ok(Some((ScopeId(row.req_int("scope_id")?), row.req_u64("n_versions")?)))
    }
}

impl Store {
    async fn with_versions(&self, rows: &[Row]) -> Result<Vec<PassedBuild>> {
        let mut builds = Vec::with_capacity(rows.len());
        for row in rows {
            builds.push(PassedBuild {
                build: BuildId(row.req_int("id")?),
                rerun_of: row.opt_int("rerun_of")?.map(BuildId),
                versions: Vec::new(),
            });
        }
        if builds.is_empty() {
            return Ok(builds);
        }
        let ids = id_list(builds.iter().map(|build| build.build.0));
        let used = self
            .rows(
                "SELECT u.build_id, u.resource_id, v.id AS version_id FROM (
                     SELECT i.build_id, i.resource_id, i.digest FROM build_inputs i
                     WHERE i.build_id IN (SELECT value FROM json_each($1))
                     UNION SELECT o.build_id, o.resource_id, o.digest FROM build_outputs o
                     WHERE o.build_id IN (SELECT value FROM json_each($1))
                 ) u JOIN resources r ON r.id = u.resource_id
                 JOIN versions v ON v.scope_id = r.scope_id AND v.digest = u.digest
                 ORDER BY u.build_id, u.resource_id, v.id",
                args![ids],
            )
            .await?;
        let mut by_build: std::collections::BTreeMap<i64, Vec<(ResourceId, VersionId)>> =
            std::collections::BTreeMap::new();
        for row in &used {
            let version =
                (ResourceId(row.req_int("resource_id")?), VersionId(row.req_int("version_id")?));
            by_build.entry(row.req_int("build_id")?).or_default().push(version);
        }
        for build in &mut builds {
            build.versions = by_build.remove(&build.build.0).unwrap_or_default();
        }
        Ok(builds)
    }
}

fn scope_version(row: &Row) -> Result<ScopeVersion> {
    Ok(ScopeVersion {
        id: VersionId(row.req_int("id")?),
        version: row.req_version("version")?,
        check_order: row.req_int("check_order")?,
        enabled: row.req_bool("enabled")?,
    })
}
