//! Versions of resources, in the order their checks gave them.

use jb_model::{BuildId, Metadata, ResourceId, ScopeId, Timestamp, Version, VersionId};

use crate::{BuildRecord, Page, Paged, Result, Store};

/// One version as a resource sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceVersion {
    pub id: VersionId,
    pub version: Version,
    pub metadata: Vec<Metadata>,
    /// Disabled per resource, also where the history is shared.
    pub enabled: bool,
    /// Position in the scope's history; 0 for versions made by a put that no check has returned yet.
    pub check_order: i64,
}

/// What saving the result of a check did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedVersions {
    /// One id per given version, in their order.
    pub ids: Vec<VersionId>,
    /// How many were not known (or known only from a put). When 0, nothing was reordered.
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
        unfinished!(scope, versions, now)
    }

    /// Saves a version that a put made; it takes its place in the history when a check returns it.
    pub async fn save_put_version(
        &self,
        scope: ScopeId,
        version: &Version,
        metadata: &[Metadata],
    ) -> Result<VersionId> {
        unfinished!(scope, version, metadata)
    }

    /// Saves what a `get` said about a version.
    pub async fn save_metadata(
        &self,
        scope: ScopeId,
        version: &Version,
        metadata: &[Metadata],
    ) -> Result<bool> {
        unfinished!(scope, version, metadata)
    }

    /// The newest version of a scope, disabled or not: what a check continues from.
    pub async fn latest_version(&self, scope: ScopeId) -> Result<Option<(VersionId, Version)>> {
        unfinished!(scope)
    }

    /// A version by id alone.
    pub async fn version(&self, version: VersionId) -> Result<Option<(ScopeId, Version)>> {
        unfinished!(version)
    }

    /// A version as the resource sees it; nothing when it is not in the resource's scope.
    pub async fn resource_version(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Option<ResourceVersion>> {
        unfinished!(resource, version)
    }

    /// Pages through a resource's versions, newest first. The page counts version ids as the API does; only
    /// versions that contain `filter` are listed.
    pub async fn resource_versions(
        &self,
        resource: ResourceId,
        filter: &Version,
        page: Page,
    ) -> Result<Paged<ResourceVersion>> {
        unfinished!(resource, filter, page)
    }

    /// The newest version of a scope that contains `partial`.
    pub async fn find_version(
        &self,
        scope: ScopeId,
        partial: &Version,
    ) -> Result<Option<(VersionId, Version)>> {
        unfinished!(scope, partial)
    }

    /// Enables or disables a version for a resource. False when the resource has no such version.
    pub async fn set_version_enabled(
        &self,
        resource: ResourceId,
        version: VersionId,
        enabled: bool,
        now: Timestamp,
    ) -> Result<bool> {
        unfinished!(resource, version, enabled, now)
    }

    /// Forgets all versions of the resource's scope. Returns how many there were.
    pub async fn clear_versions(&self, resource: ResourceId, now: Timestamp) -> Result<u64> {
        unfinished!(resource, now)
    }

    /// Builds of the resource's pipeline that used the version, newest first.
    pub async fn builds_with_input(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Vec<BuildRecord>> {
        unfinished!(resource, version)
    }

    /// Builds of the resource's pipeline that made the version, newest first.
    pub async fn builds_with_output(
        &self,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<Vec<BuildRecord>> {
        unfinished!(resource, version)
    }

    /// Records that a build made this version of the resource; see also [`Store::save_put_version`].
    pub async fn save_build_output(
        &self,
        build: BuildId,
        name: &str,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<()> {
        unfinished!(build, name, resource, version)
    }
}
