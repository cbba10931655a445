//! What a version led to, or came from: the builds on the way and the versions they used and made.

use jb_model::{BuildId, BuildStatus, JobId, ResourceId, Version, VersionId};

use crate::jobs::status;
use crate::sql::{Row, args};
use crate::{Result, Store};

/// Which way to follow versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the builds that used the version, what they made, and so on.
    Downstream,
    /// To the builds that made the version, what they used, and so on.
    Upstream,
}

/// The answer to a question about causality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traced {
    UnknownVersion,
    /// More than [`CAUSAL_BUILDS_MAX`] builds or [`CAUSAL_USES_MAX`] uses are on the way.
    TooLarge,
    Found(Causality),
}

/// Jobs' builds on the way, by id, and every version that they used or made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causality {
    pub builds: Vec<CausalBuild>,
    pub uses: Vec<CausalUse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CausalBuild {
    pub build: BuildId,
    pub name: String,
    pub status: BuildStatus,
    pub job: JobId,
    pub job_name: String,
}

/// A build's use of a version: an input, or an output when it made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CausalUse {
    pub build: BuildId,
    pub made: bool,
    pub resource: ResourceId,
    pub resource_name: String,
    pub version: VersionId,
    pub fields: Version,
}

/// Most builds of one answer.
pub const CAUSAL_BUILDS_MAX: u32 = 5_000;
/// Most uses of versions of one answer.
pub const CAUSAL_USES_MAX: u32 = 25_000;

/// Builds on the way from the version `$2` of the resource `$1`. The resource itself is not gone through again.
macro_rules! downstream {
    ($($rest:literal),+) => {
        concat!(
            "WITH RECURSIVE way (build_id) AS (
                 SELECT i.build_id FROM build_inputs i WHERE i.resource_id = $1 AND i.digest = $2
                 UNION
                 SELECT i.build_id FROM way
                 JOIN build_outputs o ON o.build_id = way.build_id
                 JOIN build_inputs i ON i.resource_id = o.resource_id AND i.digest = o.digest
                 WHERE i.resource_id <> $1
             ) ",
            $($rest),+
        )
    };
}

/// The same the other way round.
macro_rules! upstream {
    ($($rest:literal),+) => {
        concat!(
            "WITH RECURSIVE way (build_id) AS (
                 SELECT o.build_id FROM build_outputs o WHERE o.resource_id = $1 AND o.digest = $2
                 UNION
                 SELECT o.build_id FROM way
                 JOIN build_inputs i ON i.build_id = way.build_id
                 JOIN build_outputs o ON o.resource_id = i.resource_id AND o.digest = i.digest
                 WHERE i.resource_id <> $1
             ) ",
            $($rest),+
        )
    };
}

macro_rules! builds {
    ($way:ident) => {
        $way!(
            "SELECT b.id, b.name, b.status, j.id AS job_id, j.name AS job_name
             FROM way JOIN builds b ON b.id = way.build_id JOIN jobs j ON j.id = b.job_id
             ORDER BY b.id LIMIT $3"
        )
    };
}

macro_rules! uses {
    ($way:ident) => {
        $way!(
            "SELECT u.build_id, u.made, r.id AS resource_id, r.name, v.id AS version_id, v.version
             FROM (SELECT i.build_id, 0 AS made, i.resource_id, i.digest
                   FROM way JOIN build_inputs i ON i.build_id = way.build_id
                   UNION
                   SELECT o.build_id, 1 AS made, o.resource_id, o.digest
                   FROM way JOIN build_outputs o ON o.build_id = way.build_id) u
             JOIN resources r ON r.id = u.resource_id
             JOIN versions v ON v.scope_id = r.scope_id AND v.digest = u.digest
             ORDER BY u.build_id, u.made, r.id, v.id LIMIT $3"
        )
    };
}

impl Store {
    /// Follows a version of a resource through the builds that used and made versions.
    pub async fn causality(
        &self,
        resource: ResourceId,
        version: VersionId,
        direction: Direction,
    ) -> Result<Traced> {
        let sql = "SELECT digest FROM versions WHERE id = $1";
        let Some(row) = self.row(sql, args![version]).await? else {
            return Ok(Traced::UnknownVersion);
        };
        let digest = row.req_str("digest")?;
        let (builds, uses) = match direction {
            Direction::Downstream => (builds!(downstream), uses!(downstream)),
            Direction::Upstream => (builds!(upstream), uses!(upstream)),
        };
        // One more than is allowed tells that there are too many.
        let builds = self.rows(builds, args![resource, digest, CAUSAL_BUILDS_MAX + 1]).await?;
        if builds.len() > CAUSAL_BUILDS_MAX as usize {
            return Ok(Traced::TooLarge);
        }
        let uses = self.rows(uses, args![resource, digest, CAUSAL_USES_MAX + 1]).await?;
        if uses.len() > CAUSAL_USES_MAX as usize {
            return Ok(Traced::TooLarge);
        }
        let builds: Vec<CausalBuild> = builds.iter().map(causal_build).collect::<Result<_>>()?;
        let mut uses: Vec<CausalUse> = uses.iter().map(causal_use).collect::<Result<_>>()?;
        // Not those of builds that began in between.
        uses.retain(|used| builds.binary_search_by_key(&used.build, |build| build.build).is_ok());
        Ok(Traced::Found(Causality { builds, uses }))
    }
}

fn causal_build(row: &Row) -> Result<CausalBuild> {
    Ok(CausalBuild {
        build: BuildId(row.req_int("id")?),
        name: row.req_text("name")?,
        status: status(row, "status")?,
        job: JobId(row.req_int("job_id")?),
        job_name: row.req_text("job_name")?,
    })
}

fn causal_use(row: &Row) -> Result<CausalUse> {
    Ok(CausalUse {
        build: BuildId(row.req_int("build_id")?),
        made: row.req_bool("made")?,
        resource: ResourceId(row.req_int("resource_id")?),
        resource_name: row.req_text("name")?,
        version: VersionId(row.req_int("version_id")?),
        fields: row.req_version("version")?,
    })
}
