//! What the resolver of inputs needs to know, in bounded pieces.
//!
//! Version ids are those of the resources' present scopes: a version an old build used is matched by its
//! content, and left out when the present scope does not know it.

use jb_model::{BuildId, JobId, ResourceId, ScopeId, Version, VersionId};

use crate::{Result, Store};

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
        unfinished!(job, before, limit)
    }

    /// Succeeded builds of a job from `after` (its `(rerun_of or id, id)`, exclusive) on, oldest first:
    /// what `version: every` continues with.
    pub async fn successful_builds_after(
        &self,
        job: JobId,
        after: (BuildId, BuildId),
        limit: u32,
    ) -> Result<Vec<PassedBuild>> {
        unfinished!(job, after, limit)
    }

    /// Succeeded builds of a job that used or made a version, newest first.
    pub async fn successful_builds_with_version(
        &self,
        job: JobId,
        resource: ResourceId,
        version: VersionId,
        limit: u32,
    ) -> Result<Vec<PassedBuild>> {
        unfinished!(job, resource, version, limit)
    }

    /// A resource's versions below `before` in its history, newest first.
    pub async fn versions_before(
        &self,
        resource: ResourceId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ScopeVersion>> {
        unfinished!(resource, before, limit)
    }

    /// A resource's versions above `after` in its history, oldest first.
    pub async fn versions_after(
        &self,
        resource: ResourceId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ScopeVersion>> {
        unfinished!(resource, after, limit)
    }

    /// The newest enabled version of a resource.
    pub async fn latest_enabled(&self, resource: ResourceId) -> Result<Option<ScopeVersion>> {
        unfinished!(resource)
    }

    /// The newest version of a resource that contains `partial`, enabled or not: what a pin selects.
    pub async fn pinned_version(
        &self,
        resource: ResourceId,
        partial: &Version,
    ) -> Result<Option<ScopeVersion>> {
        unfinished!(resource, partial)
    }

    /// One version as a resource sees it, by id.
    pub async fn scope_version(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Option<ScopeVersion>> {
        unfinished!(resource, version)
    }

    /// The version this input of the job used that stands highest in the resource's history.
    pub async fn newest_used(
        &self,
        job: JobId,
        input: &str,
        resource: ResourceId,
    ) -> Result<Option<ScopeVersion>> {
        unfinished!(job, input, resource)
    }

    /// Whether no build of the job ever used this version by this input.
    pub async fn is_first_occurrence(
        &self,
        job: JobId,
        input: &str,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<bool> {
        unfinished!(job, input, resource, version)
    }

    /// The job's newest build (reruns at their original's place) that used the resource.
    pub async fn latest_build_using(
        &self,
        job: JobId,
        resource: ResourceId,
    ) -> Result<Option<BuildId>> {
        unfinished!(job, resource)
    }

    /// The builds that vouched for the inputs of a build.
    pub async fn pipes_of(&self, build: BuildId) -> Result<Vec<Pipe>> {
        unfinished!(build)
    }

    /// The scope of a resource with its size: `(scope, number of versions in its history)`.
    pub async fn scope_of(&self, resource: ResourceId) -> Result<Option<(ScopeId, u64)>> {
        unfinished!(resource)
    }
}
