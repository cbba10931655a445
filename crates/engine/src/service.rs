//! What others ask of the engine: stop a build, enter a container, take an artifact.

use std::sync::Arc;

use jb_model::{
    BuildEvent, BuildId, BuildStatus, ContainerHandle, PipelineConfig, PipelineId, TeamId, Value,
    VolumeHandle,
};
use jb_pipeline::vars::{Missing, interpolate};
use jb_runtime::ByteStream;
use jb_runtime::client::RunnerClient;
use jb_store::NewVolume;
use tokio::sync::watch;

use crate::build::{Secrets, var_sources};
use crate::{Engine, supervisor};

/// A way into a container.
pub struct WayIn {
    pub client: RunnerClient,
    /// What the step's own process saw.
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub dir: String,
    pub privileged: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum HijackError {
    #[error("the container is gone")]
    NotFound,
    #[error("{0}")]
    Runtime(#[from] jb_runtime::Error),
    #[error("{0}")]
    Store(#[from] jb_store::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("{0}")]
    Store(#[from] jb_store::Error),
    #[error("{0}")]
    Vars(String),
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("{0}")]
    Store(#[from] jb_store::Error),
    #[error("{0}")]
    Runtime(#[from] jb_runtime::Error),
}

/// What a step's process was started with, as kept for those who enter its container later.
#[derive(Debug, Default)]
pub(crate) struct StepProcess {
    pub env: Vec<(String, String)>,
    pub privileged: bool,
}

impl StepProcess {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::json!({"env": self.env, "privileged": self.privileged})
    }

    fn from_value(value: &Value) -> Self {
        let pairs = value["env"].as_array().into_iter().flatten();
        let env = pairs
            .filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())))
            .collect();
        Self { env, privileged: value["privileged"].as_bool().unwrap_or(false) }
    }

    /// Keeps it sealed with the container.
    pub(crate) async fn keep(
        &self,
        engine: &Engine,
        handle: &ContainerHandle,
    ) -> jb_store::Result<()> {
        engine.store.set_container_process(handle, &self.to_value()).await
    }

    async fn of(engine: &Engine, handle: &ContainerHandle) -> jb_store::Result<Self> {
        let kept = engine.store.container_process(handle).await?;
        Ok(kept.map(|kept| Self::from_value(&kept)).unwrap_or_default())
    }
}

impl Engine {
    /// Runs everything that happens by itself until told to stop.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        tokio::join!(
            supervisor::run(self.clone(), stop.clone()),
            crate::loops::run(self.clone(), stop),
        );
    }

    /// Tells the driver of a build to look at it again.
    pub fn nudge_build(&self, build: BuildId) {
        self.supervisor.nudge(build);
    }

    /// Stops a build: its steps get their grace period, or with `force` the build ends at once and
    /// what still runs is removed with its containers.
    pub async fn abort(&self, build: BuildId, force: bool) -> jb_store::Result<()> {
        self.store.abort_build(build, self.now()).await?;
        if force {
            let status = BuildStatus::Aborted;
            let record = self.store.build(build).await?;
            if let Some(record) = record.filter(|record| !record.status.is_final()) {
                // First, because a reader of the log is done when the build is.
                let event = BuildEvent::Status { status, time: self.now() };
                let rendered = [crate::build::encode(&event)];
                self.store.append_events(build, &rendered, None, None).await?;
                if self.store.finish_build(build, status, None, self.now()).await? {
                    self.count_end(&record, status);
                }
            }
        }
        self.supervisor.nudge(build);
        Ok(())
    }

    /// Connects to a container's runner, with what its step's process was started with.
    pub async fn hijack(&self, handle: &ContainerHandle) -> Result<WayIn, HijackError> {
        let container = self.store.container(handle).await?.ok_or(HijackError::NotFound)?;
        // Whoever enters one of these could read the key.
        if !jb_runtime::ContainerKind::is_entered(&container.kind) {
            return Err(HijackError::NotFound);
        }
        let connected = async { self.place_of(handle).await?.runtime.connect(handle).await };
        let stream = connected.await.map_err(|error| match error {
            jb_runtime::Error::NoContainer(_) => HijackError::NotFound,
            other => HijackError::Runtime(other),
        })?;
        let client = RunnerClient::handshake(stream).await?;
        let process = StepProcess::of(self, handle).await?;
        Ok(WayIn {
            client,
            env: process.env,
            user: Some(container.user).filter(|user| !user.is_empty()),
            dir: container.working_dir,
            privileged: process.privileged,
        })
    }

    /// Makes a volume of a plain tar archive, for a team.
    pub async fn upload(&self, team: TeamId, tar: ByteStream) -> Result<VolumeHandle, UploadError> {
        let number = self.uploads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let handle = VolumeHandle::new(format!("upload-{team}-{}-{number}", self.now().0));
        let place = self.places.first();
        let volume = NewVolume {
            handle: handle.clone(),
            kind: "artifact".to_owned(),
            worker: place.name().to_owned(),
            team: Some(team),
            build: None,
            container: None,
            job: None,
            step_name: String::new(),
            path: String::new(),
            parent: None,
        };
        self.store.create_volume(&volume, self.now()).await?;
        place.runtime.create_volume(&handle).await?;
        place.runtime.stream_in(&handle, ".", tar).await?;
        Ok(handle)
    }

    /// What is wrong with the secrets that a configuration names, see [`jb_pipeline::check_credentials`].
    pub fn check_credentials(&self, config: &PipelineConfig) -> Vec<String> {
        match Secrets::new(&config.var_sources) {
            Ok(secrets) => jb_pipeline::check_credentials(config, |var| secrets.lookup(var)),
            Err(error) => vec![error],
        }
    }

    /// Replaces the vars in a text of a pipeline's configuration.
    pub async fn evaluate(
        &self,
        pipeline: PipelineId,
        text: &str,
    ) -> Result<String, EvaluateError> {
        let config = self.store.pipeline_config(pipeline).await?;
        let sources = config.map(|(config, _)| var_sources(&config)).unwrap_or_default();
        let secrets = Secrets::new(&sources).map_err(EvaluateError::Vars)?;
        let value = Value::String(text.to_owned());
        let result = interpolate(&value, Missing::Fail, |var| secrets.lookup(var))
            .map_err(|error| EvaluateError::Vars(error.to_string()))?;
        Ok(match result {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}
