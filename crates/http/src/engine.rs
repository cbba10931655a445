//! What the HTTP edge asks of the engine. Everything else it reads from and writes to the store.

use async_trait::async_trait;
use jb_model::{
    BuildId, ContainerHandle, PipelineConfig, PipelineId, TeamId, Timestamp, Version, VolumeHandle,
};
use jb_runtime::client::RunnerClient;
use jb_runtime::{BaseType, ByteStream, PodInfo};
use jb_store::ResourceKind;
use tokio::sync::watch;

/// What to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTarget {
    pub pipeline: PipelineId,
    pub kind: ResourceKind,
    pub name: String,
}

/// How to check it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Continue from this version instead of the newest known one.
    pub from: Option<Version>,
    /// Leave the types that the target needs as they were last checked.
    pub shallow: bool,
    /// Who asked; `None` for a webhook.
    pub created_by: Option<String>,
}

/// A way into a container.
pub struct Hijack {
    pub client: RunnerClient,
    /// What the step's own process was started with, below what the client asks for.
    pub env: Vec<(String, String)>,
    /// The user when the client names none.
    pub user: Option<String>,
    /// Where the process starts when the client does not say.
    pub dir: String,
    /// The container itself is privileged, so that processes in it may be.
    pub privileged: bool,
}

/// A place where containers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerInfo {
    pub name: String,
    /// Where its containers reach the machine they run on.
    pub address: String,
    pub platform: String,
    pub tags: Vec<String>,
    /// The team it works for alone; empty for all.
    pub team: String,
    pub active_containers: u64,
    pub active_volumes: u64,
    pub active_tasks: u64,
    pub base_types: Vec<BaseType>,
    pub started_at: Option<Timestamp>,
    /// `running`, `stalled`, `landing`, `landed` or `retiring`.
    pub state: String,
}

/// How much the server tells in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Error,
    Fatal,
}

impl LogLevel {
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Error, Self::Fatal];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The thing asked for does not exist, or not any more.
    #[error("{0}")]
    NotFound(String),
    /// The request cannot be served as it is.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

/// The engine as the edge sees it.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Starts a check that has a build of its own, now, whatever the interval.
    async fn check(
        &self,
        target: CheckTarget,
        options: CheckOptions,
    ) -> Result<BuildId, EngineError>;

    /// Tells that a build was created, started or marked for abortion.
    fn nudge_build(&self, build: BuildId);

    /// Stops a build. With `force` its containers are not waited for: it is aborted when this returns.
    async fn abort(&self, build: BuildId, force: bool) -> Result<(), EngineError>;

    /// Connects to the runner of a container.
    async fn hijack(&self, container: &ContainerHandle) -> Result<Hijack, EngineError>;

    /// Makes a volume of a plain tar archive. The volume is recorded in the store.
    async fn upload_artifact(
        &self,
        team: TeamId,
        tar: ByteStream,
    ) -> Result<VolumeHandle, EngineError>;

    /// The content of a volume as a plain tar archive.
    async fn artifact_stream(&self, volume: &VolumeHandle) -> Result<ByteStream, EngineError>;

    /// The workers of this server.
    async fn workers(&self) -> Result<Vec<WorkerInfo>, EngineError>;

    /// Workers of which something is recorded, but which this server does not have.
    async fn absent_workers(&self) -> Result<Vec<WorkerInfo>, EngineError>;

    /// Forgets what is recorded of a worker that is not in service.
    async fn forget_worker(&self, name: &str) -> Result<(), EngineError>;

    /// The pods of a build's steps, in the order they were made; none when steps are no pods.
    async fn pods(&self, build: BuildId) -> Result<Option<Vec<PodInfo>>, EngineError>;

    /// Tells when any pod has changed; none when steps are no pods.
    fn pod_changes(&self) -> Option<watch::Receiver<u64>>;

    /// Replaces the vars in a text of a pipeline's configuration, such as a webhook's token.
    async fn evaluate(&self, pipeline: PipelineId, text: &str) -> Result<String, EngineError>;

    /// What is wrong with the secrets that a configuration names; empty when all of them are there.
    fn check_credentials(&self, config: &PipelineConfig) -> Vec<String>;

    fn log_level(&self) -> LogLevel;

    fn set_log_level(&self, level: LogLevel);
}
