//! Artifacts: names for volumes inside a build, and the numbered ones that `fly execute` moves.

use jb_model::{ArtifactId, BuildId, TeamId, Timestamp, VolumeHandle};

use crate::sql::{Row, args};
use crate::store::transact;
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
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO build_artifacts (build_id, scope, name, volume) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (build_id, scope, name) DO UPDATE SET volume = excluded.volume",
                args![build, scope, name, volume],
            )
            .await
            .map(drop)
        })
    }

    /// All names of a build by scope and name.
    pub async fn build_artifacts(&self, build: BuildId) -> Result<Vec<BuildArtifact>> {
        let rows = self
            .rows(
                "SELECT scope, name, volume FROM build_artifacts WHERE build_id = $1
                 ORDER BY scope, name",
                args![build],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(BuildArtifact {
                    scope: row.req_text("scope")?,
                    name: row.req_text("name")?,
                    volume: VolumeHandle(row.req_text("volume")?),
                })
            })
            .collect()
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
        transact!(self, async |tx| {
            let row = tx
                .one(
                    "INSERT INTO artifacts (team_id, build_id, name, volume, created_at)
                     VALUES ($1, $2, $3, $4, $5)
                     RETURNING id, team_id, build_id, name, volume, created_at",
                    args![team, build, name, volume, now],
                )
                .await?;
            artifact_record(&row)
        })
    }

    pub async fn artifact(&self, artifact: ArtifactId) -> Result<Option<ArtifactRecord>> {
        let sql = "SELECT id, team_id, build_id, name, volume, created_at FROM artifacts
                   WHERE id = $1";
        self.row(sql, args![artifact]).await?.as_ref().map(artifact_record).transpose()
    }

    /// The artifacts of a build by id.
    pub async fn artifacts_of_build(&self, build: BuildId) -> Result<Vec<ArtifactRecord>> {
        let sql = "SELECT id, team_id, build_id, name, volume, created_at FROM artifacts
                   WHERE build_id = $1 ORDER BY id";
        self.rows(sql, args![build]).await?.iter().map(artifact_record).collect()
    }

    /// Deletes artifacts made before `before` whose build, if any, is over. Returns their volumes.
    pub async fn delete_old_artifacts(&self, before: Timestamp) -> Result<Vec<VolumeHandle>> {
        transact!(self, async |tx| {
            let rows = tx
                .rows(
                    "DELETE FROM artifacts WHERE created_at < $1 AND (build_id IS NULL
                     OR build_id IN (SELECT b.id FROM builds b WHERE b.completed = 1))
                     RETURNING volume",
                    args![before],
                )
                .await?;
            rows.iter().map(|row| row.req_text("volume").map(VolumeHandle)).collect()
        })
    }
}

fn artifact_record(row: &Row) -> Result<ArtifactRecord> {
    Ok(ArtifactRecord {
        id: ArtifactId(row.req_int("id")?),
        team_id: TeamId(row.req_int("team_id")?),
        build: row.opt_int("build_id")?.map(BuildId),
        name: row.req_text("name")?,
        volume: VolumeHandle(row.req_text("volume")?),
        created_at: row.req_time("created_at")?,
    })
}
