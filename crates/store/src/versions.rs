//! Versions of resources, in the order their checks gave them.

use jb_model::{BuildId, Metadata, ResourceId, ScopeId, Timestamp, Version, VersionId};

use crate::builds::{build_records, select_builds};
use crate::dialect::Lock;
use crate::jobs::{request_scope, request_users};
use crate::seal::hex_digest;
use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::{BuildRecord, Error, Page, Paged, Result, Store};

/// How many versions are read at a time when they are filtered here.
const SCAN: i64 = 500;

macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT v.id, v.version, v.metadata, v.check_order, CASE WHEN EXISTS (
                 SELECT 1 FROM disabled_versions d WHERE d.resource_id = r.id AND d.digest = v.digest
             ) THEN 0 ELSE 1 END AS enabled
             FROM resources r JOIN versions v ON v.scope_id = r.scope_id ",
            $rest
        )
    };
}
pub(crate) use select_versions;

/// One version as a resource sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceVersion {
    pub id: VersionId,
    pub version: Version,
    pub metadata: Vec<Metadata>,
    /// Disabled per resource, also where the history is shared.
    pub enabled: bool,
    /// Position in the scope's history, growing from old to new.
    pub check_order: i64,
}

/// What saving the result of a check did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedVersions {
    /// One id per given version, in their order.
    pub ids: Vec<VersionId>,
    /// How many were not known. When 0, nothing was reordered.
    pub new: usize,
}

impl Store {
    /// Saves the result of a check. When it holds anything new, all given versions are appended to the history
    /// in the given order, known ones too, and jobs using the scope are requested to be scheduled.
    pub async fn save_versions(
        &self,
        scope: ScopeId,
        versions: &[Version],
        now: Timestamp,
    ) -> Result<SavedVersions> {
        transact!(self, async |tx| {
            tx.lock(Lock::Scope(scope.0)).await?;
            let mut ids = Vec::with_capacity(versions.len());
            let mut new = 0;
            for version in versions {
                let (id, known) = find_or_insert(tx, scope, version).await?;
                new += usize::from(!known);
                ids.push(id);
            }
            if new == 0 {
                return Ok(SavedVersions { ids, new });
            }
            append(tx, scope, &ids).await?;
            request_scope(tx, scope, now).await?;
            Ok(SavedVersions { ids, new })
        })
    }

    /// Saves a version that a put made. One that was not known becomes the newest of the scope, and jobs using
    /// the scope are requested to be scheduled; a known one keeps its place.
    pub async fn save_put_version(
        &self,
        scope: ScopeId,
        version: &Version,
        metadata: &[Metadata],
    ) -> Result<VersionId> {
        transact!(self, async |tx| {
            tx.lock(Lock::Scope(scope.0)).await?;
            let (id, known) = find_or_insert(tx, scope, version).await?;
            set_metadata(tx, id, metadata).await?;
            if !known {
                append(tx, scope, &[id]).await?;
                request_scope(tx, scope, Timestamp::default()).await?;
            }
            Ok(id)
        })
    }

    /// Saves what a `get` said about a version.
    pub async fn save_metadata(
        &self,
        scope: ScopeId,
        version: &Version,
        metadata: &[Metadata],
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let sql = "SELECT id FROM versions WHERE scope_id = $1 AND digest = $2";
            let Some(row) = tx.row(sql, args![scope, version_digest(version)]).await? else {
                return Ok(false);
            };
            set_metadata(tx, VersionId(row.req_int("id")?), metadata).await?;
            Ok(true)
        })
    }

    /// The newest version of a scope, disabled or not: what a check continues from.
    pub async fn latest_version(&self, scope: ScopeId) -> Result<Option<(VersionId, Version)>> {
        let sql = "SELECT id, version FROM versions WHERE scope_id = $1
                   ORDER BY check_order DESC LIMIT 1";
        self.row(sql, args![scope]).await?.as_ref().map(id_and_version).transpose()
    }

    /// A version by id alone.
    pub async fn version(&self, version: VersionId) -> Result<Option<(ScopeId, Version)>> {
        let sql = "SELECT scope_id, version FROM versions WHERE id = $1";
        let Some(row) = self.row(sql, args![version]).await? else { return Ok(None) };
        Ok(Some((ScopeId(row.req_int("scope_id")?), row.req_version("version")?)))
    }

    /// A version as the resource sees it; nothing when it is not in the resource's scope.
    pub async fn resource_version(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Option<ResourceVersion>> {
        let sql = select_versions!("WHERE r.id = $1 AND v.id = $2");
        let row = self.row(sql, args![resource, version]).await?;
        row.as_ref().map(resource_version).transpose()
    }

    /// Pages through a resource's versions, newest first. The page counts version ids as the API does; only
    /// versions that contain `filter` are listed.
    pub async fn resource_versions(
        &self,
        resource: ResourceId,
        filter: &Version,
        page: Page,
    ) -> Result<Paged<ResourceVersion>> {
        let limit = usize::try_from(page.rows()).unwrap_or_default();
        let lowest = match page.from {
            Some(id) => self.check_order(resource, id).await?,
            None => Some(1),
        };
        let highest = match page.to {
            Some(id) => self.check_order(resource, id).await?,
            None => Some(i64::MAX),
        };
        let (Some(lowest), Some(highest)) = (lowest, highest) else {
            return Ok(Paged { items: Vec::new(), older: None, newer: None });
        };
        let items = if page.upwards() {
            let mut items = self.scan_up(resource, filter, lowest, limit).await?;
            items.reverse();
            items
        } else {
            let mut items = self.scan_down(resource, filter, highest, limit).await?;
            items.retain(|item| item.check_order >= lowest);
            items
        };
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return Ok(Paged { items, older: None, newer: None });
        };
        let older = self.scan_down(resource, filter, last.check_order - 1, 1).await?;
        let newer = self.scan_up(resource, filter, first.check_order + 1, 1).await?;
        let id = |found: &[ResourceVersion]| found.first().map(|version| version.id.0);
        Ok(Paged { older: id(&older), newer: id(&newer), items })
    }

    /// The newest version of a scope that contains `partial`.
    pub async fn find_version(
        &self,
        scope: ScopeId,
        partial: &Version,
    ) -> Result<Option<(VersionId, Version)>> {
        let sql = "SELECT id, version FROM versions
                   WHERE scope_id = $1 AND digest = $2";
        if let Some(row) = self.row(sql, args![scope, version_digest(partial)]).await? {
            return id_and_version(&row).map(Some);
        }
        let mut below = i64::MAX;
        loop {
            let rows = self
                .rows(
                    "SELECT id, version, check_order FROM versions
                     WHERE scope_id = $1 AND check_order < $2
                     ORDER BY check_order DESC LIMIT $3",
                    args![scope, below, SCAN],
                )
                .await?;
            for row in &rows {
                below = row.req_int("check_order")?;
                let (id, version) = id_and_version(row)?;
                if contains(&version, partial) {
                    return Ok(Some((id, version)));
                }
            }
            if rows.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Enables or disables a version for a resource. False when the resource has no such version.
    pub async fn set_version_enabled(
        &self,
        resource: ResourceId,
        version: VersionId,
        enabled: bool,
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let sql = "SELECT v.digest FROM resources r JOIN versions v ON v.scope_id = r.scope_id
                       WHERE r.id = $1 AND v.id = $2";
            let Some(row) = tx.row(sql, args![resource, version]).await? else {
                return Ok(false);
            };
            let sql = if enabled {
                "DELETE FROM disabled_versions WHERE resource_id = $1 AND digest = $2"
            } else {
                "INSERT INTO disabled_versions (resource_id, digest) VALUES ($1, $2)
                 ON CONFLICT (resource_id, digest) DO NOTHING"
            };
            tx.execute(sql, args![resource, row.req_str("digest")?]).await?;
            request_users(tx, resource, now).await?;
            Ok(true)
        })
    }

    /// Forgets all versions of the resource's scope. Returns how many there were.
    pub async fn clear_versions(&self, resource: ResourceId, now: Timestamp) -> Result<u64> {
        transact!(self, async |tx| {
            let sql = "SELECT scope_id FROM resources WHERE id = $1";
            let Some(row) = tx.row(sql, args![resource]).await? else {
                return Err(Error::not_found("resource", resource));
            };
            let Some(scope) = row.opt_int("scope_id")?.map(ScopeId) else { return Ok(0) };
            tx.lock(Lock::Scope(scope.0)).await?;
            let cleared =
                tx.execute("DELETE FROM versions WHERE scope_id = $1", args![scope]).await?;
            tx.execute(
                "UPDATE resources SET next_due = 0 WHERE scope_id = $1 AND next_due IS NOT NULL",
                args![scope],
            )
            .await?;
            request_scope(tx, scope, now).await?;
            tx.changed(crate::Change::CheckRequested);
            Ok(cleared)
        })
    }

    /// Builds of the resource's pipeline that used the version, newest first.
    pub async fn builds_with_input(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Vec<BuildRecord>> {
        let sql = select_builds!(
            "WHERE b.id IN (SELECT i.build_id FROM build_inputs i WHERE i.resource_id = $1
             AND i.digest = (SELECT v.digest FROM versions v WHERE v.id = $2))
             ORDER BY b.id DESC LIMIT 5000"
        );
        build_records(&self.rows(sql, args![resource, version]).await?)
    }

    /// Builds of the resource's pipeline that made the version, newest first.
    pub async fn builds_with_output(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Vec<BuildRecord>> {
        let sql = select_builds!(
            "WHERE b.id IN (SELECT o.build_id FROM build_outputs o WHERE o.resource_id = $1
             AND o.digest = (SELECT v.digest FROM versions v WHERE v.id = $2))
             ORDER BY b.id DESC LIMIT 5000"
        );
        build_records(&self.rows(sql, args![resource, version]).await?)
    }

    /// Records that a build made this version of the resource; see also [`Store::save_put_version`].
    pub async fn save_build_output(
        &self,
        build: BuildId,
        name: &str,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<()> {
        transact!(self, async |tx| {
            let saved = tx
                .execute(
                    "INSERT INTO build_outputs (build_id, name, resource_id, version_id, digest)
                     SELECT $1, $2, $3, v.id, v.digest FROM versions v WHERE v.id = $4
                     ON CONFLICT (build_id, name, resource_id, version_id)
                     DO UPDATE SET digest = excluded.digest",
                    args![build, name, resource, version],
                )
                .await?;
            if saved == 0 { Err(Error::not_found("version", version)) } else { Ok(()) }
        })
    }
}

impl Store {
    async fn check_order(&self, resource: ResourceId, version: i64) -> Result<Option<i64>> {
        let sql = "SELECT v.check_order FROM resources r JOIN versions v ON v.scope_id = r.scope_id
                   WHERE r.id = $1 AND v.id = $2";
        let row = self.row(sql, args![resource, version]).await?;
        row.map(|row| row.req_int("check_order")).transpose()
    }

    /// Versions that contain `filter` from a position downwards.
    async fn scan_down(
        &self,
        resource: ResourceId,
        filter: &Version,
        mut from: i64,
        limit: usize,
    ) -> Result<Vec<ResourceVersion>> {
        let sql = select_versions!(
            "WHERE r.id = $1 AND v.check_order <= $2
             ORDER BY v.check_order DESC LIMIT $3"
        );
        let mut found = Vec::new();
        while found.len() < limit {
            let rows = self.rows(sql, args![resource, from, batch(filter, limit)]).await?;
            let Some(last) = rows.last() else { break };
            from = last.req_int("check_order")? - 1;
            keep(&rows, filter, limit, &mut found)?;
        }
        Ok(found)
    }

    /// Versions that contain `filter` from a position upwards.
    async fn scan_up(
        &self,
        resource: ResourceId,
        filter: &Version,
        mut from: i64,
        limit: usize,
    ) -> Result<Vec<ResourceVersion>> {
        let sql = select_versions!(
            "WHERE r.id = $1 AND v.check_order >= $2
             ORDER BY v.check_order LIMIT $3"
        );
        let mut found = Vec::new();
        while found.len() < limit {
            let rows = self.rows(sql, args![resource, from, batch(filter, limit)]).await?;
            let Some(last) = rows.last() else { break };
            from = last.req_int("check_order")? + 1;
            keep(&rows, filter, limit, &mut found)?;
        }
        Ok(found)
    }
}

/// Without a filter every row read is kept.
fn batch(filter: &Version, limit: usize) -> i64 {
    if filter.is_empty() { i64::try_from(limit).unwrap_or(SCAN) } else { SCAN }
}

fn keep(
    rows: &[Row],
    filter: &Version,
    limit: usize,
    found: &mut Vec<ResourceVersion>,
) -> Result<()> {
    for row in rows {
        if found.len() == limit {
            break;
        }
        let version = resource_version(row)?;
        if contains(&version.version, filter) {
            found.push(version);
        }
    }
    Ok(())
}

/// Whether a version has every field of a partial one.
pub(crate) fn contains(version: &Version, partial: &Version) -> bool {
    partial.iter().all(|(key, value)| version.get(key) == Some(value))
}

/// A version's text: keys sorted, so that equal versions have equal texts.
pub(crate) fn version_text(version: &Version) -> String {
    let fields = version.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    jb_model::Value::Object(fields.collect()).to_string()
}

/// What a version is found by.
pub(crate) fn version_digest(version: &Version) -> String {
    hex_digest(&version_text(version))
}

/// Puts versions at the end of the history, in this order.
async fn append(tx: &mut Tx, scope: ScopeId, ids: &[VersionId]) -> Result<()> {
    let row = tx
        .one(
            "SELECT coalesce(max(check_order), 0) AS newest FROM versions WHERE scope_id = $1",
            args![scope],
        )
        .await?;
    let next = row.req_int("newest")? + 1;
    for (order, id) in (next..).zip(ids) {
        let sql = "UPDATE versions SET check_order = $2 WHERE id = $1";
        tx.execute(sql, args![*id, order]).await?;
    }
    Ok(())
}

/// The version's row, and whether it was there before.
async fn find_or_insert(
    tx: &mut Tx,
    scope: ScopeId,
    version: &Version,
) -> Result<(VersionId, bool)> {
    let text = version_text(version);
    let digest = hex_digest(&text);
    let sql = "SELECT id FROM versions WHERE scope_id = $1 AND digest = $2";
    if let Some(row) = tx.row(sql, args![scope, &digest]).await? {
        return Ok((VersionId(row.req_int("id")?), true));
    }
    let row = tx
        .one(
            "INSERT INTO versions (scope_id, digest, version) VALUES ($1, $2, $3) RETURNING id",
            args![scope, &digest, text],
        )
        .await?;
    Ok((VersionId(row.req_int("id")?), false))
}

async fn set_metadata(tx: &mut Tx, version: VersionId, metadata: &[Metadata]) -> Result<()> {
    if metadata.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE versions SET metadata = $2 WHERE id = $1";
    tx.execute(sql, args![version, metadata_text(metadata)]).await.map(drop)
}

/// Metadata as stored.
pub(crate) fn metadata_text(metadata: &[Metadata]) -> String {
    let lines = metadata.iter();
    let lines: jb_model::Value =
        lines.map(|line| serde_json::json!({"name": line.name, "value": line.value})).collect();
    lines.to_string()
}

/// Reads metadata as stored.
pub(crate) fn metadata_of(stored: &jb_model::Value) -> Vec<Metadata> {
    let text = |line: &jb_model::Value, key| {
        line.get(key).and_then(jb_model::Value::as_str).unwrap_or_default().to_owned()
    };
    let lines = stored.as_array().map_or(&[][..], Vec::as_slice).iter();
    lines.map(|line| Metadata { name: text(line, "name"), value: text(line, "value") }).collect()
}

fn id_and_version(row: &Row) -> Result<(VersionId, Version)> {
    Ok((VersionId(row.req_int("id")?), row.req_version("version")?))
}

fn resource_version(row: &Row) -> Result<ResourceVersion> {
    Ok(ResourceVersion {
        id: VersionId(row.req_int("id")?),
        version: row.req_version("version")?,
        metadata: metadata_of(&row.req_json("metadata")?),
        enabled: row.req_bool("enabled")?,
        check_order: row.req_int("check_order")?,
    })
}
