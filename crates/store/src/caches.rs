//! Volumes, the cache of fetched resources, and the caches of tasks.

use jb_model::{
    BuildId, ContainerHandle, JobId, Metadata, ResourceId, TeamId, Timestamp, Version, VolumeHandle,
};

use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::versions::{metadata_of, metadata_text, version_text};
use crate::{Result, Store};

macro_rules! select_volumes {
    ($rest:literal) => {
        concat!(
            "SELECT v.handle, v.kind, v.worker, v.team_id, v.build_id, v.container, v.job_id,
             v.step_name, v.path, v.parent, v.size_bytes, v.created_at, v.last_used,
             c.type_name AS cached_type, c.version AS cached_version
             FROM volumes v LEFT JOIN resource_caches c ON c.volume = v.handle ",
            $rest
        )
    };
}

/// A volume to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    pub handle: VolumeHandle,
    /// What it holds: `artifact`, `resource`, `task-cache`, `container`, ...
    pub kind: String,
    pub worker: String,
    pub team: Option<TeamId>,
    pub build: Option<BuildId>,
    pub container: Option<ContainerHandle>,
    pub job: Option<JobId>,
    pub step_name: String,
    pub path: String,
    pub parent: Option<VolumeHandle>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    pub volume: NewVolume,
    /// The type and version that it holds, once they are fetched whole.
    pub cached: Option<(String, Version)>,
    pub size_bytes: Option<u64>,
    pub created_at: Timestamp,
    pub last_used: Timestamp,
}

/// A fetched version to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCache {
    /// Hash over type, source, version and params.
    pub key: String,
    /// Hash over type and source only, by which caches are cleared.
    pub config_hash: String,
    pub type_name: String,
    pub version: Version,
    pub metadata: Vec<Metadata>,
    pub volume: VolumeHandle,
}

/// A fetched version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    pub key: String,
    pub type_name: String,
    pub version: Version,
    pub metadata: Vec<Metadata>,
    pub volume: VolumeHandle,
    pub last_used: Timestamp,
}

/// Which cache of which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskCacheKey<'a> {
    pub job: JobId,
    pub step_name: &'a str,
    pub path: &'a str,
}

impl Store {
    /// Records a volume; one of that handle stays as it is.
    pub async fn create_volume(&self, volume: &NewVolume, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO volumes (handle, kind, worker, team_id, build_id, container, job_id,
                 step_name, path, parent, created_at, last_used)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
                 ON CONFLICT (handle) DO NOTHING",
                args![
                    &volume.handle,
                    &volume.kind,
                    &volume.worker,
                    volume.team,
                    volume.build,
                    volume.container.as_ref().map(ContainerHandle::as_str),
                    volume.job,
                    &volume.step_name,
                    &volume.path,
                    volume.parent.as_ref().map(VolumeHandle::as_str),
                    now,
                ],
            )
            .await
            .map(drop)
        })
    }

    pub async fn volume(&self, handle: &VolumeHandle) -> Result<Option<VolumeRecord>> {
        let row = self.row(select_volumes!("WHERE v.handle = $1"), args![handle]).await?;
        row.as_ref().map(volume_record).transpose()
    }

    /// Volumes of a team and those of none, by handle.
    pub async fn team_volumes(&self, team: TeamId, limit: u32) -> Result<Vec<VolumeRecord>> {
        let sql =
            select_volumes!("WHERE v.team_id = $1 OR v.team_id IS NULL ORDER BY v.handle LIMIT $2");
        self.rows(sql, args![team, limit]).await?.iter().map(volume_record).collect()
    }

    /// Marks a volume as used now.
    pub async fn touch_volume(&self, handle: &VolumeHandle, now: Timestamp) -> Result<()> {
        transact!(self, async |tx| touch_volume(tx, handle, now).await)
    }

    pub async fn set_volume_size(&self, handle: &VolumeHandle, bytes: u64) -> Result<()> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        transact!(self, async |tx| {
            let sql = "UPDATE volumes SET size_bytes = $2 WHERE handle = $1";
            tx.execute(sql, args![handle, bytes]).await.map(drop)
        })
    }

    /// Volumes of a worker, or of all, that nothing refers to any more: no running build, no numbered artifact, no resource or task
    /// cache, and that were last used before `before`. At most `limit`.
    pub async fn collectable_volumes(
        &self,
        worker: Option<&str>,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<VolumeHandle>> {
        let rows = self
            .rows(
                "SELECT v.handle FROM volumes v WHERE v.last_used < $1 AND ($3 = '' OR v.worker = $3)
                 AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.id = v.build_id AND b.completed = 0)
                 AND NOT EXISTS (SELECT 1 FROM build_artifacts a JOIN builds b ON b.id = a.build_id
                                 WHERE a.volume = v.handle AND b.completed = 0)
                 AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.volume = v.handle)
                 AND NOT EXISTS (SELECT 1 FROM resource_caches c WHERE c.volume = v.handle)
                 AND NOT EXISTS (SELECT 1 FROM task_caches c WHERE c.volume = v.handle)
                 AND NOT EXISTS (SELECT 1 FROM containers c WHERE c.handle = v.container)
                 AND NOT EXISTS (SELECT 1 FROM volumes c WHERE c.parent = v.handle)
                 ORDER BY v.last_used, v.handle LIMIT $2",
                args![before, limit, worker.unwrap_or_default()],
            )
            .await?;
        rows.iter().map(|row| row.req_text("handle").map(VolumeHandle)).collect()
    }

    /// Forgets a volume and every cache in it.
    pub async fn delete_volume(&self, handle: &VolumeHandle) -> Result<bool> {
        transact!(self, async |tx| {
            for sql in [
                "DELETE FROM resource_caches WHERE volume = $1",
                "DELETE FROM task_caches WHERE volume = $1",
            ] {
                tx.execute(sql, args![handle]).await?;
            }
            Ok(tx.execute("DELETE FROM volumes WHERE handle = $1", args![handle]).await? > 0)
        })
    }

    /// Finds a fetched version and marks it and its volume as used now.
    pub async fn use_cache(&self, key: &str, now: Timestamp) -> Result<Option<CacheRecord>> {
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "UPDATE resource_caches SET last_used = $2 WHERE key = $1
                     RETURNING key, type_name, version, metadata, volume, last_used",
                    args![key, now],
                )
                .await?;
            let Some(row) = row else { return Ok(None) };
            let cache = cache_record(&row)?;
            touch_volume(tx, &cache.volume, now).await?;
            Ok(Some(cache))
        })
    }

    /// Remembers a fetched version. When another was faster, theirs stays and is returned.
    pub async fn save_cache(&self, cache: &NewCache, now: Timestamp) -> Result<CacheRecord> {
        transact!(self, async |tx| {
            let row = tx
                .one(
                    "INSERT INTO resource_caches (key, config_hash, type_name, version, metadata,
                     volume, created_at, last_used) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
                     ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used
                     RETURNING key, type_name, version, metadata, volume, last_used",
                    args![
                        &cache.key,
                        &cache.config_hash,
                        &cache.type_name,
                        version_text(&cache.version),
                        metadata_text(&cache.metadata),
                        &cache.volume,
                        now,
                    ],
                )
                .await?;
            let stored = cache_record(&row)?;
            touch_volume(tx, &stored.volume, now).await?;
            Ok(stored)
        })
    }

    /// Forgets the caches of a configuration, of one version if given. Returns their number.
    pub async fn clear_caches(&self, config_hash: &str, version: Option<&Version>) -> Result<u64> {
        let version = version.map(version_text);
        transact!(self, async |tx| clear(tx, config_hash, version.as_deref()).await)
    }

    /// Forgets the caches of what a resource's present scope was made of; see [`Store::clear_caches`].
    pub async fn clear_resource_caches(
        &self,
        resource: ResourceId,
        version: Option<&Version>,
    ) -> Result<u64> {
        let version = version.map(version_text);
        transact!(self, async |tx| {
            let sql = "SELECT s.config_hash FROM resources r JOIN scopes s ON s.id = r.scope_id
                       WHERE r.id = $1";
            match tx.row(sql, args![resource]).await? {
                Some(row) => clear(tx, row.req_str("config_hash")?, version.as_deref()).await,
                None => Ok(0),
            }
        })
    }

    /// Forgets caches last used before `before`, at most `limit`; their volumes become collectable.
    pub async fn delete_unused_caches(&self, before: Timestamp, limit: u32) -> Result<u64> {
        transact!(self, async |tx| {
            tx.execute(
                "DELETE FROM resource_caches WHERE key IN (SELECT c.key FROM resource_caches c
                 WHERE c.last_used < $1 ORDER BY c.last_used, c.key LIMIT $2)",
                args![before, limit],
            )
            .await
        })
    }

    /// The volume of a task's cache, marked as used now.
    pub async fn use_task_cache(
        &self,
        key: TaskCacheKey<'_>,
        now: Timestamp,
    ) -> Result<Option<VolumeHandle>> {
        transact!(self, async |tx| {
            let row = tx
                .row(
                    "UPDATE task_caches SET last_used = $4
                     WHERE job_id = $1 AND step_name = $2 AND path = $3 RETURNING volume",
                    args![key.job, key.step_name, key.path, now],
                )
                .await?;
            let Some(row) = row else { return Ok(None) };
            let volume = VolumeHandle(row.req_text("volume")?);
            touch_volume(tx, &volume, now).await?;
            Ok(Some(volume))
        })
    }

    /// Remembers the volume of a task's cache. When another was faster, theirs stays and is returned.
    pub async fn save_task_cache(
        &self,
        key: TaskCacheKey<'_>,
        volume: &VolumeHandle,
        now: Timestamp,
    ) -> Result<VolumeHandle> {
        transact!(self, async |tx| {
            let row = tx
                .one(
                    "INSERT INTO task_caches (job_id, step_name, path, volume, last_used)
                     VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (job_id, step_name, path)
                     DO UPDATE SET last_used = excluded.last_used RETURNING volume",
                    args![key.job, key.step_name, key.path, volume, now],
                )
                .await?;
            let stored = VolumeHandle(row.req_text("volume")?);
            touch_volume(tx, &stored, now).await?;
            Ok(stored)
        })
    }

    /// Forgets a step's caches, one path only if given, on all workers. Returns their number.
    pub async fn clear_task_caches(
        &self,
        job: JobId,
        step_name: &str,
        path: Option<&str>,
    ) -> Result<u64> {
        transact!(self, async |tx| {
            tx.execute(
                "DELETE FROM task_caches
                 WHERE job_id = $1 AND step_name = $2 AND ($3 IS NULL OR path = $3 OR EXISTS
                     (SELECT 1 FROM volumes v WHERE v.handle = volume AND v.path = $3))",
                args![job, step_name, path],
            )
            .await
        })
    }
}

async fn touch_volume(tx: &mut Tx, volume: &VolumeHandle, now: Timestamp) -> Result<()> {
    let sql = "UPDATE volumes SET last_used = $2 WHERE handle = $1";
    tx.execute(sql, args![volume, now]).await.map(drop)
}

async fn clear(tx: &mut Tx, config_hash: &str, version: Option<&str>) -> Result<u64> {
    tx.execute(
        "DELETE FROM resource_caches
         WHERE config_hash = $1 AND ($2 IS NULL OR version = $2)",
        args![config_hash, version],
    )
    .await
}

fn cache_record(row: &Row) -> Result<CacheRecord> {
    Ok(CacheRecord {
        key: row.req_text("key")?,
        type_name: row.req_text("type_name")?,
        version: row.req_version("version")?,
        metadata: metadata_of(&row.req_json("metadata")?),
        volume: VolumeHandle(row.req_text("volume")?),
        last_used: row.req_time("last_used")?,
    })
}

fn volume_record(row: &Row) -> Result<VolumeRecord> {
    let size = row.opt_int("size_bytes")?;
    let cached = match row.opt_text("cached_type")? {
        Some(kind) => Some((kind, row.req_version("cached_version")?)),
        None => None,
    };
    Ok(VolumeRecord {
        volume: NewVolume {
            handle: VolumeHandle(row.req_text("handle")?),
            kind: row.req_text("kind")?,
            worker: row.req_text("worker")?,
            team: row.opt_int("team_id")?.map(TeamId),
            build: row.opt_int("build_id")?.map(BuildId),
            container: row.opt_text("container")?.map(ContainerHandle),
            job: row.opt_int("job_id")?.map(JobId),
            step_name: row.req_text("step_name")?,
            path: row.req_text("path")?,
            parent: row.opt_text("parent")?.map(VolumeHandle),
        },
        cached,
        size_bytes: size.map(|size| u64::try_from(size).unwrap_or_default()),
        created_at: row.req_time("created_at")?,
        last_used: row.req_time("last_used")?,
    })
}
