//! Identities. Rows are numbered; plans, containers and volumes are named.

use std::fmt;

macro_rules! row_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

row_id! {
    /// A team's row.
    TeamId,
    /// A pipeline's row; each instance of an instanced pipeline has its own.
    PipelineId,
    /// A job's row.
    JobId,
    /// A resource's row (also resource types and prototypes, which are checked like resources).
    ResourceId,
    /// The scope that owns a version history: what a check fills and inputs are resolved from.
    ScopeId,
    /// One version in a scope.
    VersionId,
    /// A build's row, global over all teams.
    BuildId,
    /// An uploaded or published artifact, as `fly execute` numbers them.
    ArtifactId,
    /// A question that a build asks people, global over all teams.
    ApprovalId,
}

macro_rules! name_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub String);

        impl $name {
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

name_id! {
    /// A node of a plan: hex counter, `<id>/image-check`, `<id>/image-get` (of an agent's MCP server
    /// `<id>/mcp/<name>/image-get`), or `<id>/<i>/<n>` under `across`.
    PlanId,
    /// A container, named by what it is for, so that creating it twice finds the first.
    ContainerHandle,
    /// A volume on a worker.
    VolumeHandle,
}

/// Microseconds since the Unix epoch. Comes in as an argument; nothing here reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Whole seconds since the epoch, as Concourse's API and events carry times.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time plus a duration; saturates instead of wrapping.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn before(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_micros(
            u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0),
        )
    }
}
