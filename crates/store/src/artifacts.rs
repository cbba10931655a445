//! Artifacts: names for volumes inside a build, and the numbered ones that `fly execute` moves.

use jb_model::{ArtifactId, BuildId, TeamId, Timestamp, VolumeHandle};

use crate::{Result, Store};

/// A name for a volume inside a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildArtifact {
    pub scope: String,
    pub name: String,
    pub volume: VolumeHandle,
}

/// An artifact that the API numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRecord {
    pub id: ArtifactId,
    pub team_id: TeamId,
    pub build: Option<BuildId>,
    pub name: String,
    pub volume: VolumeHandle,
    pub created_at: Timestamp,
}

impl Store {
    /// Names a volume in a build, replacing a former one of that name.
    pub async fn set_build_artifact(
        &self,
        build: BuildId,
        scope: &str,
        name: &str,
        volume: &VolumeHandle,
    ) -> Result<()> {
        unfinished!(build, scope, name, volume)
    }

    /// All names of a build by scope and name.
    pub async fn build_artifacts(&self, build: BuildId) -> Result<Vec<BuildArtifact>> {
        unfinished!(build)
    }

    /// Numbers an artifact, uploaded or published by a build.
    pub async fn create_artifact(
        &self,
        team: TeamId,
        build: Option<BuildId>,
        name: &str,
        volume: &VolumeHandle,
        now: Timestamp,
    ) -> Result<ArtifactRecord> {
        unfinished!(team, build, name, volume, now)
    }

    pub async fn artifact(&self, artifact: ArtifactId) -> Result<Option<ArtifactRecord>> {
        unfinished!(artifact)
    }

    /// The artifacts of a build by id.
    pub async fn artifacts_of_build(&self, build: BuildId) -> Result<Vec<ArtifactRecord>> {
        unfinished!(build)
    }

    /// Deletes artifacts made before `before` whose build, if any, is over. Returns their volumes.
    pub async fn delete_old_artifacts(&self, before: Timestamp) -> Result<Vec<VolumeHandle>> {
        unfinished!(before)
    }
}
