//! An engine that does nothing by itself and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jb_http::{CheckOptions, CheckTarget, Engine, EngineError, Hijack, LogLevel, WorkerInfo};
use jb_model::{
    BuildId, ContainerHandle, PipelineConfig, PipelineId, TeamId, Timestamp, VolumeHandle,
};
use jb_runtime::client::RunnerClient;
use jb_runtime::{BaseType, ByteStream, PodInfo};
use jb_store::{NewCheckBuild, Store};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

pub struct FakeEngine {
    pub store: Store,
    pub now: Timestamp,
    pub checks: Mutex<Vec<(CheckTarget, CheckOptions)>>,
    pub aborted: Mutex<Vec<(BuildId, bool)>>,
    pub volumes: Mutex<BTreeMap<VolumeHandle, Vec<u8>>>,
    pub runners: Mutex<BTreeMap<ContainerHandle, RunnerClient>>,
    pub level: Mutex<LogLevel>,
    /// Workers that are recorded and not here.
    pub absent: Mutex<Vec<String>>,
    /// `None` where steps are no pods.
    pub pods: Mutex<Option<Vec<PodInfo>>>,
    pub pod_changes: watch::Sender<u64>,
    next: AtomicU64,
}

impl FakeEngine {
    pub fn new(store: Store, now: Timestamp) -> Self {
        Self {
            store,
            now,
            checks: Mutex::default(),
            aborted: Mutex::default(),
            volumes: Mutex::default(),
            runners: Mutex::default(),
            level: Mutex::default(),
            absent: Mutex::new(vec!["gone".into()]),
            pods: Mutex::default(),
            pod_changes: watch::Sender::new(0),
            next: AtomicU64::new(1),
        }
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn check(
        &self,
        target: CheckTarget,
        options: CheckOptions,
    ) -> Result<BuildId, EngineError> {
        let resource = self
            .store
            .resource_by_name(target.pipeline, target.kind, &target.name)
            .await
            .map_err(|error| EngineError::Failed(error.to_string()))?
            .ok_or_else(|| EngineError::NotFound(target.name.clone()))?;
        let plan = serde_json::json!({"id": "1", "check": {
            "name": target.name, "type": resource.type_name, "source": {},
        }});
        let check = NewCheckBuild {
            resource: resource.id,
            manual: true,
            created_by: options.created_by.as_deref(),
            plan: Some(&plan),
        };
        let build = self.store.create_check_build(check, self.now).await;
        self.checks.lock().unwrap().push((target, options));
        Ok(build.unwrap().unwrap().id)
    }

    fn nudge_build(&self, _: BuildId) {}

    async fn abort(&self, build: BuildId, force: bool) -> Result<(), EngineError> {
        self.aborted.lock().unwrap().push((build, force));
        Ok(())
    }

    async fn hijack(&self, container: &ContainerHandle) -> Result<Hijack, EngineError> {
        let client = self.runners.lock().unwrap().get(container).cloned();
        Ok(Hijack {
            client: client.ok_or_else(|| EngineError::NotFound(container.to_string()))?,
            env: vec![("PATH".into(), "/bin".into()), ("TERM".into(), "dumb".into())],
            user: Some("root".into()),
            dir: "/tmp/build/1".into(),
            privileged: false,
        })
    }

    async fn upload_artifact(
        &self,
        _: TeamId,
        mut tar: ByteStream,
    ) -> Result<VolumeHandle, EngineError> {
        let mut bytes = Vec::new();
        tar.read_to_end(&mut bytes)
            .await
            .map_err(|error| EngineError::Refused(error.to_string()))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let volume = VolumeHandle::new(format!("upload-{number}"));
        self.volumes.lock().unwrap().insert(volume.clone(), bytes);
        Ok(volume)
    }

    async fn artifact_stream(&self, volume: &VolumeHandle) -> Result<ByteStream, EngineError> {
        let bytes = self.volumes.lock().unwrap().get(volume).cloned();
        let bytes = bytes.ok_or_else(|| EngineError::NotFound(volume.to_string()))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    async fn workers(&self) -> Result<Vec<WorkerInfo>, EngineError> {
        let mock = BaseType {
            name: "mock".into(),
            version: "0.13.0".into(),
            privileged: false,
            unique_version_history: false,
        };
        let worker = |name: &str, team: &str| WorkerInfo {
            name: name.into(),
            platform: "linux".into(),
            team: team.into(),
            base_types: vec![mock.clone()],
            started_at: Some(self.now),
            state: "running".into(),
            ..WorkerInfo::default()
        };
        Ok(vec![worker("vm", ""), worker("mine", "crew")])
    }

    async fn absent_workers(&self) -> Result<Vec<WorkerInfo>, EngineError> {
        let absent = self.absent.lock().unwrap();
        let worker = |name: &String| WorkerInfo {
            name: name.clone(),
            state: "stalled".into(),
            ..WorkerInfo::default()
        };
        Ok(absent.iter().map(worker).collect())
    }

    async fn forget_worker(&self, name: &str) -> Result<(), EngineError> {
        if name == "vm" || name == "mine" {
            return Err(EngineError::Refused("cannot prune running worker".into()));
        }
        let mut absent = self.absent.lock().unwrap();
        let known = absent.iter().position(|worker| worker == name);
        let known = known.ok_or_else(|| EngineError::NotFound(name.to_owned()))?;
        absent.remove(known);
        Ok(())
    }

    async fn pods(&self, _: BuildId) -> Result<Option<Vec<PodInfo>>, EngineError> {
        Ok(self.pods.lock().unwrap().clone())
    }

    fn pod_changes(&self) -> Option<watch::Receiver<u64>> {
        let has_pods = self.pods.lock().unwrap().is_some();
        has_pods.then(|| self.pod_changes.subscribe())
    }

    async fn evaluate(&self, _: PipelineId, text: &str) -> Result<String, EngineError> {
        Ok(text.replace("((token))", "evaluated"))
    }

    fn check_credentials(&self, config: &PipelineConfig) -> Vec<String> {
        jb_pipeline::check_credentials(config, |var| {
            Ok::<_, String>((var.path == "token").then(|| "evaluated".into()))
        })
    }

    fn log_level(&self) -> LogLevel {
        *self.level.lock().unwrap()
    }

    fn set_log_level(&self, level: LogLevel) {
        *self.level.lock().unwrap() = level;
    }
}
