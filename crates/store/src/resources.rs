//! Resources, resource types and prototypes: their rows, scopes, pins and check bookkeeping.

use std::time::Duration;

use jb_model::{BuildId, PipelineId, ResourceId, ScopeId, Timestamp, Value, Version, VersionId};

use crate::dialect::Lock;
use crate::jobs::{BriefColumns, brief, request_users};
use crate::page::visible_args;
use crate::pipelines::{pipeline_ref, pipeline_ref_columns};
use crate::sql::{Row, args};
use crate::store::transact;
use crate::{BuildBrief, Change, Error, PipelineRef, Result, Store, Visible};

macro_rules! select_resources {
    ($($rest:tt)*) => {
        concat!(
            "SELECT r.id, r.kind, ",
            pipeline_ref_columns!(),
            ", p.paused AS pipeline_paused, r.name, r.type_name, r.config, r.scope_id, r.pin_version,
             r.pin_comment, r.next_due, s.last_check_start, s.last_check_end, s.last_check_succeeded,
             s.last_check_build_id, cb.id AS check_id, cb.name AS check_name,
             cb.status AS check_status, cb.start_time AS check_start_time, cb.end_time AS check_end_time
             FROM resources r JOIN pipelines p ON p.id = r.pipeline_id
             JOIN teams t ON t.id = p.team_id LEFT JOIN scopes s ON s.id = r.scope_id
             LEFT JOIN builds cb ON cb.id = s.last_check_build_id ",
            $($rest)*
        )
    };
}

/// What periodic checks look at: what triggers a job by itself always; what is only got or put as long as it has
/// no good check, no version, or a pin that may be undiscovered.
macro_rules! candidates {
    () => {
        "r.kind = 'resource' AND r.active = 1 AND p.paused = 0 AND p.archived = 0 AND (
             EXISTS (SELECT 1 FROM job_resources u WHERE u.resource_id = r.id AND u.trigger_kind = 2)
             OR (EXISTS (SELECT 1 FROM job_resources u WHERE u.resource_id = r.id)
                 AND (s.last_check_end IS NULL OR s.last_check_succeeded = 0 OR r.config_pinned = 1
                      OR NOT EXISTS (SELECT 1 FROM versions v
                                     WHERE v.scope_id = s.id))))"
    };
}

/// Which list of the configuration a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    Resource,
    ResourceType,
    Prototype,
}

impl ResourceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::ResourceType => "resource_type",
            Self::Prototype => "prototype",
        }
    }
}

/// A pin set through the API. A pin in the configuration is in [`ResourceRecord::config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub version: Version,
    pub comment: String,
}

/// What is known of the last check of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    pub last_start: Option<Timestamp>,
    pub last_end: Option<Timestamp>,
    /// Whether the last check that ended did so well.
    pub succeeded: bool,
    pub last_build: Option<BuildId>,
    /// Not before this time is the next periodic check due.
    pub next_due: Option<Timestamp>,
}

/// A resource, resource type or prototype of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceRecord {
    pub id: ResourceId,
    pub kind: ResourceKind,
    pub pipeline: PipelineRef,
    pub pipeline_paused: bool,
    pub name: String,
    /// The resource type's name.
    pub type_name: String,
    /// Its part of the configuration as JSON.
    pub config: Value,
    /// Where its versions are, once it was checked.
    pub scope: Option<ScopeId>,
    pub pin: Option<Pin>,
    /// A comment set without a pin is kept here too.
    pub pin_comment: Option<String>,
    pub check: CheckState,
    /// The last check's build, when it has a row.
    pub last_check_build: Option<BuildBrief>,
}

impl Store {
    /// Resources (not types) of all teams as far as visible, of pipelines that are not archived.
    pub async fn all_resources(&self, visible: &Visible) -> Result<Vec<ResourceRecord>> {
        let sql = select_resources!(
            "WHERE r.kind = 'resource' AND r.active = 1 AND p.archived = 0
             AND ($1 = 1 OR p.public = 1 OR p.team_id IN (SELECT value FROM json_each($2)))
             ORDER BY p.team_id, p.position, p.instance_position, p.id, r.position"
        );
        let (all, teams) = visible_args(visible);
        self.resource_records(&self.rows(sql, args![all, teams]).await?)
    }

    /// The active rows of one kind of a pipeline, in the order of its configuration.
    pub async fn pipeline_resources(
        &self,
        pipeline: PipelineId,
        kind: ResourceKind,
    ) -> Result<Vec<ResourceRecord>> {
        let sql = select_resources!(
            "WHERE r.pipeline_id = $1 AND r.kind = $2 AND r.active = 1 ORDER BY r.position"
        );
        self.resource_records(&self.rows(sql, args![pipeline, kind.as_str()]).await?)
    }

    pub async fn resource(&self, resource: ResourceId) -> Result<Option<ResourceRecord>> {
        let row = self.row(select_resources!("WHERE r.id = $1"), args![resource]).await?;
        row.as_ref().map(|row| self.resource_record(row)).transpose()
    }

    /// Finds an active row by name.
    pub async fn resource_by_name(
        &self,
        pipeline: PipelineId,
        kind: ResourceKind,
        name: &str,
    ) -> Result<Option<ResourceRecord>> {
        let sql = select_resources!(
            "WHERE r.pipeline_id = $1 AND r.kind = $2 AND r.name = $3 AND r.active = 1"
        );
        let row = self.row(sql, args![pipeline, kind.as_str(), name]).await?;
        row.as_ref().map(|row| self.resource_record(row)).transpose()
    }

    /// Candidates for periodic checks: active resources of pipelines neither paused nor archived that are
    /// never checked or whose `next_due` has come, that are inputs of an active job or put by one.
    pub async fn resources_due(&self, now: Timestamp, limit: u32) -> Result<Vec<ResourceRecord>> {
        let sql = select_resources!(
            "WHERE r.next_due <= $1 AND ",
            candidates!(),
            " ORDER BY r.next_due, r.id LIMIT $2"
        );
        self.resource_records(&self.rows(sql, args![now, limit]).await?)
    }

    /// When the next periodic check of any candidate is due.
    pub async fn next_check_due(&self) -> Result<Option<Timestamp>> {
        let sql = concat!(
            "SELECT min(r.next_due) AS due FROM resources r JOIN pipelines p ON p.id = r.pipeline_id
             LEFT JOIN scopes s ON s.id = r.scope_id WHERE ",
            candidates!()
        );
        match self.row(sql, &[]).await? {
            Some(row) => row.opt_time("due"),
            None => Ok(None),
        }
    }

    /// Puts a periodic check off (or forward) without checking, e.g. for `check_every: never` or a rate limit.
    /// Works before the resource has a scope.
    pub async fn set_next_check(&self, resource: ResourceId, due: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE resources SET next_due = $2 WHERE id = $1";
            found(tx.execute(sql, args![resource, due]).await?, resource)
        })
    }

    /// Points the resource at the scope of its present configuration, creating that when missing.
    /// `config_hash` covers type, source and the type's own version; `shared` makes every resource of
    /// that hash use one history, otherwise the history is this resource's own. When the scope changed, jobs
    /// using the resource are requested to be scheduled. Returns the scope and whether it changed.
    pub async fn set_scope(
        &self,
        resource: ResourceId,
        config_hash: &str,
        shared: bool,
        now: Timestamp,
    ) -> Result<(ScopeId, bool)> {
        let key = if shared { config_hash.to_owned() } else { format!("{config_hash}#{resource}") };
        let owner = (!shared).then_some(resource);
        transact!(self, async |tx| {
            tx.lock(Lock::Resource(resource.0)).await?;
            let sql = "SELECT scope_id FROM resources WHERE id = $1";
            let Some(row) = tx.row(sql, args![resource]).await? else {
                return Err(Error::not_found("resource", resource));
            };
            let present = row.opt_int("scope_id")?;
            tx.execute(
                "INSERT INTO scopes (key, config_hash, owner_id) VALUES ($1, $2, $3)
                 ON CONFLICT (key) DO NOTHING",
                args![&key, config_hash, owner],
            )
            .await?;
            let row = tx.one("SELECT id FROM scopes WHERE key = $1", args![&key]).await?;
            let scope = row.req_int("id")?;
            if present == Some(scope) {
                return Ok((ScopeId(scope), false));
            }
            tx.execute("UPDATE resources SET scope_id = $2 WHERE id = $1", args![resource, scope])
                .await?;
            request_users(tx, resource, now).await?;
            Ok((ScopeId(scope), true))
        })
    }

    /// The shared scope of a configuration that no resource has, such as the image of a task: its
    /// checks serve every step that asks for the same image.
    pub async fn shared_scope(&self, config_hash: &str, now: Timestamp) -> Result<ScopeId> {
        transact!(self, async |tx| {
            // As if a check had failed just now, so that it is not deleted before its first one ends.
            tx.execute(
                "INSERT INTO scopes (key, config_hash, last_check_end) VALUES ($1, $1, $2)
                 ON CONFLICT (key) DO NOTHING",
                args![config_hash, now],
            )
            .await?;
            let row = tx.one("SELECT id FROM scopes WHERE key = $1", args![config_hash]).await?;
            Ok(ScopeId(row.req_int("id")?))
        })
    }

    /// Deletes shared scopes that no resource points at any more and that were last checked before
    /// `checked_before`, with their versions. Returns how many.
    pub async fn delete_unused_scopes(&self, checked_before: Timestamp, limit: u32) -> Result<u64> {
        transact!(self, async |tx| {
            tx.execute(
                "DELETE FROM scopes WHERE id IN (SELECT s.id FROM scopes s WHERE s.owner_id IS NULL
                 AND coalesce(s.last_check_start, 0) < $1 AND coalesce(s.last_check_end, 0) < $1
                 AND NOT EXISTS (SELECT 1 FROM resources r WHERE r.scope_id = s.id)
                 ORDER BY s.id LIMIT $2)",
                args![checked_before, limit],
            )
            .await
        })
    }

    /// Active resources and types that use a scope.
    pub async fn resources_of_scope(&self, scope: ScopeId) -> Result<Vec<ResourceRecord>> {
        let sql = select_resources!("WHERE r.scope_id = $1 AND r.active = 1 ORDER BY r.id");
        self.resource_records(&self.rows(sql, args![scope]).await?)
    }

    pub async fn check_state(&self, scope: ScopeId) -> Result<Option<CheckState>> {
        let sql = "SELECT s.last_check_start, s.last_check_end, s.last_check_succeeded,
                   s.last_check_build_id,
                   (SELECT min(r.next_due) FROM resources r WHERE r.scope_id = s.id AND r.active = 1)
                   AS next_due FROM scopes s WHERE s.id = $1";
        self.row(sql, args![scope]).await?.as_ref().map(check_state).transpose()
    }

    /// Records that a check began, unless one of the scope is running that began after `stale_before`.
    /// False when it was refused: the other one's result will serve.
    pub async fn start_check(
        &self,
        scope: ScopeId,
        build: Option<BuildId>,
        stale_before: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let started = tx
                .execute(
                    "UPDATE scopes SET last_check_start = $4,
                     last_check_build_id = coalesce($2, last_check_build_id)
                     WHERE id = $1 AND (last_check_start IS NULL OR last_check_start <= $3
                         OR last_check_start <= last_check_end)",
                    args![scope, build, stale_before, now],
                )
                .await?;
            Ok(started > 0)
        })
    }

    /// Records how a check ended and when the next periodic one is due (`None`: never).
    pub async fn finish_check(
        &self,
        scope: ScopeId,
        succeeded: bool,
        interval: Option<Duration>,
        now: Timestamp,
    ) -> Result<()> {
        let due = interval.map(|interval| now.after(interval));
        transact!(self, async |tx| {
            tx.execute(
                "UPDATE scopes SET last_check_end = $2, last_check_succeeded = $3 WHERE id = $1",
                args![scope, now, succeeded],
            )
            .await?;
            tx.execute(
                "UPDATE resources SET next_due = $2 WHERE scope_id = $1 AND active = 1",
                args![scope, due],
            )
            .await
            .map(drop)
        })
    }

    /// Pins a resource to one of its versions, keeping a comment. False when there is no such version.
    pub async fn pin_version(
        &self,
        resource: ResourceId,
        version: VersionId,
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self, async |tx| {
            let pinned = tx
                .execute(
                    "UPDATE resources SET pin_version = (SELECT v.version FROM versions v WHERE v.id = $2)
                     WHERE id = $1 AND EXISTS (
                         SELECT 1 FROM versions v WHERE v.id = $2 AND v.scope_id = resources.scope_id)",
                    args![resource, version],
                )
                .await?;
            if pinned > 0 {
                request_users(tx, resource, now).await?;
                tx.changed(Change::CheckRequested);
            }
            Ok(pinned > 0)
        })
    }

    /// Removes pin and comment. False when nothing was pinned.
    pub async fn unpin(&self, resource: ResourceId, now: Timestamp) -> Result<bool> {
        transact!(self, async |tx| {
            let unpinned = tx
                .execute(
                    "UPDATE resources SET pin_version = NULL, pin_comment = NULL
                     WHERE id = $1 AND (pin_version IS NOT NULL OR pin_comment IS NOT NULL)",
                    args![resource],
                )
                .await?;
            if unpinned > 0 {
                request_users(tx, resource, now).await?;
            }
            Ok(unpinned > 0)
        })
    }

    pub async fn set_pin_comment(&self, resource: ResourceId, comment: &str) -> Result<()> {
        transact!(self, async |tx| {
            let sql = "UPDATE resources SET pin_comment = $2 WHERE id = $1";
            found(tx.execute(sql, args![resource, comment]).await?, resource)
        })
    }
}

impl Store {
    fn resource_records(&self, rows: &[Row]) -> Result<Vec<ResourceRecord>> {
        rows.iter().map(|row| self.resource_record(row)).collect()
    }

    fn resource_record(&self, row: &Row) -> Result<ResourceRecord> {
        let pin_comment = row.opt_text("pin_comment")?;
        let pin = match row.opt_str("pin_version")? {
            Some(_) => Some(Pin {
                version: row.req_version("pin_version")?,
                comment: pin_comment.clone().unwrap_or_default(),
            }),
            None => None,
        };
        Ok(ResourceRecord {
            id: ResourceId(row.req_int("id")?),
            kind: kind(row)?,
            pipeline: pipeline_ref(row)?,
            pipeline_paused: row.req_bool("pipeline_paused")?,
            name: row.req_text("name")?,
            type_name: row.req_text("type_name")?,
            config: match row.opt_text("config")? {
                Some(stored) => self.unsealed("resources.config", stored)?,
                None => Value::Null,
            },
            scope: row.opt_int("scope_id")?.map(ScopeId),
            pin,
            pin_comment,
            check: check_state(row)?,
            last_check_build: brief(row, &CHECK)?,
        })
    }
}

const CHECK: BriefColumns = BriefColumns {
    id: "check_id",
    name: "check_name",
    status: "check_status",
    start_time: "check_start_time",
    end_time: "check_end_time",
};

fn found(rows: u64, resource: ResourceId) -> Result<()> {
    if rows == 0 { Err(Error::not_found("resource", resource)) } else { Ok(()) }
}

fn kind(row: &Row) -> Result<ResourceKind> {
    let text = row.req_str("kind")?;
    [ResourceKind::Resource, ResourceKind::ResourceType, ResourceKind::Prototype]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| Error::Stored { what: "resources.kind", reason: text.into() })
}

fn check_state(row: &Row) -> Result<CheckState> {
    Ok(CheckState {
        last_start: row.opt_time("last_check_start")?,
        last_end: row.opt_time("last_check_end")?,
        succeeded: row.opt_int("last_check_succeeded")? == Some(1),
        last_build: row.opt_int("last_check_build_id")?.map(BuildId),
        next_due: row.opt_time("next_due")?,
    })
}
