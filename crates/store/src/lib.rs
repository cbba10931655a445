//! Everything that is kept, on SQLite or PostgreSQL.
//!
//! One concrete [`Store`], cheap to clone. Its methods stand in one module per aggregate, beside the
//! records they return. Every method is one transaction; none spans a network call, reads a clock or
//! draws an id: `now` comes in, row ids come out of the database.
//!
//! SQL is written once for both engines. What differs between them is in `dialect`; `sql` is the thin
//! layer that binds arguments and reads rows strictly, and the only user of sqlx besides it.
//!
//! To add a statement: write it with `$1` placeholders and the column types of the migrations (64-bit
//! integers, text, blobs), read it through [`sql::Row`], and cover it in the conformance suite, which
//! runs on SQLite in memory, SQLite in a file and PostgreSQL.

pub mod agent_usage;
pub mod approvals;
pub mod artifacts;
pub mod builds;
pub mod caches;
pub mod causality;
pub mod change;
mod checkpoint;
pub mod containers;
mod dialect;
pub mod dump;
pub mod error;
pub mod events;
pub mod jobs;
pub mod machine;
mod migrate;
pub mod page;
pub mod pipelines;
mod reserve;
pub mod resources;
mod rotate;
pub mod sched;
mod seal;
pub mod settings;
mod sql;
pub mod store;
pub mod teams;
pub mod tokens;
pub mod transcripts;
pub mod vars;
pub mod versions;
pub mod view;
pub mod workers;

pub use agent_usage::{AgentUsage, AgentUse, BuildUsage, JobUsage, Period, StepUsage};
pub use approvals::{Answered, ApprovalAnswer, ApprovalArtifact, ApprovalRecord, NewApproval};
pub use artifacts::{ArtifactRecord, BuildArtifact};
pub use builds::{
    BuildInput, BuildOutput, BuildRecord, NewCheckBuild, NextBuild, RerunOf, RetentionBuild,
};
pub use caches::{CacheRecord, NewCache, NewVolume, TaskCacheKey, VolumeRecord};
pub use causality::{CausalBuild, CausalUse, Causality, Direction, Traced};
pub use change::{Change, build_changed};
pub use containers::{ContainerFilter, ContainerRecord, ContainerState, NewContainer};
pub use dump::{DumpedRerun, DumpedUse, DumpedVersion, VersionsDump};
pub use error::{Error, Result};
pub use events::{Position, StoredEvent};
pub use jobs::{BuildBrief, DueJob, JobInput, JobOutput, JobRecord, NextInput, NextInputChoice};
pub use machine::{Fence, Lease, RunnableBuild};
pub use page::{Page, Paged, Visible};
pub use pipelines::{PipelineRecord, PipelineRef, SaveOutcome, SavePipeline};
pub use resources::{CheckState, Pin, ResourceKind, ResourceRecord};
pub use settings::{ComponentRecord, Wall};
pub use store::{Allowance, EncryptionKey, Options, Store};
pub use teams::TeamRecord;
pub use tokens::{TokenRecord, UserRecord};
pub use transcripts::Transcribed;
pub use vars::BuildVar;
pub use versions::{ResourceVersion, SavedVersions};
pub use view::{PassedBuild, Pipe, ScopeVersion};
pub use workers::{Forgetting, WorkerRows};
