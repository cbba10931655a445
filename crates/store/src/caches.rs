//! Volumes, the cache of fetched resources, and the caches of tasks.

use jb_model::{
    BuildId, ContainerHandle, JobId, Metadata, ResourceId, TeamId, Timestamp, Version, VolumeHandle,
};

use crate::{Result, Store};

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
        unfinished!(volume, now)
    }

    pub async fn volume(&self, handle: &VolumeHandle) -> Result<Option<VolumeRecord>> {
        unfinished!(handle)
    }

    /// Volumes of a team and those of none, by handle.
    pub async fn team_volumes(&self, team: TeamId, limit: u32) -> Result<Vec<VolumeRecord>> {
        unfinished!(team, limit)
    }

    pub async fn set_volume_size(&self, handle: &VolumeHandle, bytes: u64) -> Result<()> {
        unfinished!(handle, bytes)
    }

    /// Volumes that nothing refers to any more: no running build, no numbered artifact, no resource or task
    /// cache, and that were last used before `before`. At most `limit`.
    pub async fn collectable_volumes(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<VolumeHandle>> {
        unfinished!(before, limit)
    }

    /// Forgets a volume and every cache in it.
    pub async fn delete_volume(&self, handle: &VolumeHandle) -> Result<bool> {
        unfinished!(handle)
    }

    /// Finds a fetched version and marks it and its volume as used now.
    pub async fn use_cache(&self, key: &str, now: Timestamp) -> Result<Option<CacheRecord>> {
        unfinished!(key, now)
    }

    /// Remembers a fetched version. When another was faster, theirs stays and is returned.
    pub async fn save_cache(&self, cache: &NewCache, now: Timestamp) -> Result<CacheRecord> {
        unfinished!(cache, now)
    }

    /// Forgets the caches of a configuration, of one version if given. Returns their number.
    pub async fn clear_caches(&self, config_hash: &str, version: Option<&Version>) -> Result<u64> {
        unfinished!(config_hash, version)
    }

    /// Forgets the caches of what a resource's present scope was made of; see [`Store::clear_caches`].
    pub async fn clear_resource_caches(
        &self,
        resource: ResourceId,
        version: Option<&Version>,
    ) -> Result<u64> {
        unfinished!(resource, version)
    }

    /// Forgets caches last used before `before`, at most `limit`; their volumes become collectable.
    pub async fn delete_unused_caches(&self, before: Timestamp, limit: u32) -> Result<u64> {
        unfinished!(before, limit)
    }

    /// The volume of a task's cache, marked as used now.
    pub async fn use_task_cache(
        &self,
        key: TaskCacheKey<'_>,
        now: Timestamp,
    ) -> Result<Option<VolumeHandle>> {
        unfinished!(key, now)
    }

    /// Remembers the volume of a task's cache. When another was faster, theirs stays and is returned.
    pub async fn save_task_cache(
        &self,
        key: TaskCacheKey<'_>,
        volume: &VolumeHandle,
        now: Timestamp,
    ) -> Result<VolumeHandle> {
        unfinished!(key, volume, now)
    }

    /// Forgets a step's caches, one path only if given. Returns their number.
    pub async fn clear_task_caches(
        &self,
        job: JobId,
        step_name: &str,
        path: Option<&str>,
    ) -> Result<u64> {
        unfinished!(job, step_name, path)
    }
}
