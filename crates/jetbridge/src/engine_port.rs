//! The engine as the HTTP edge asks for it.

use std::sync::Arc;

use async_trait::async_trait;
use jb_engine::Engine;
use jb_engine::checks::CheckRequest;
use jb_engine::places::{ForgetError, Place};
use jb_http::{
    CheckOptions, CheckTarget, Engine as Port, EngineError, Hijack, LogLevel, WorkerInfo,
};
use jb_model::{
    BuildId, ContainerHandle, PipelineConfig, PipelineId, TeamId, Timestamp, VolumeHandle,
};
use jb_runtime::{ByteStream, PodInfo};
use jb_store::WorkerRows;
use tokio::sync::watch;

use crate::logging::Logging;

pub(crate) struct EnginePort {
    pub engine: Arc<Engine>,
    pub logging: Logging,
    pub started_at: Timestamp,
    /// Where containers reach this machine.
    pub address: String,
}

impl EnginePort {
    async fn worker(&self, place: &Place) -> WorkerInfo {
        let (runtime, mut is_there) = (&place.runtime, !place.is_stalled());
        let (mut containers, mut volumes) = (0, 0);
        if is_there {
            // What cannot be counted is said by the state.
            match (runtime.list().await, runtime.list_volumes().await) {
                (Ok(listed), Ok(present)) => {
                    containers = listed.iter().filter(|container| container.running).count();
                    volumes = present.len();
                }
                _ => is_there = false,
            }
        }
        WorkerInfo {
            name: place.name().to_owned(),
            platform: "linux".to_owned(),
            tags: place.tags.clone(),
            active_containers: containers as u64,
            active_volumes: volumes as u64,
            base_types: runtime.base_types(),
            started_at: Some(self.started_at),
            state: if is_there { "running" } else { "stalled" }.to_owned(),
            address: self.address.clone(),
            ..WorkerInfo::default()
        }
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(error.to_string())
}

#[async_trait]
impl Port for EnginePort {
    async fn check(
        &self,
        target: CheckTarget,
        options: CheckOptions,
    ) -> Result<BuildId, EngineError> {
        let resource = self
            .engine
            .store
            .resource_by_name(target.pipeline, target.kind, &target.name)
            .await
            .map_err(failed)?
            .ok_or_else(|| EngineError::NotFound(format!("{} not found", target.name)))?;
        let request = CheckRequest {
            from: options.from.as_ref(),
            shallow: options.shallow,
            created_by: options.created_by.as_deref(),
        };
        let check = self.engine.checks.check_now(resource.id, &request, self.engine.now());
        let check = check.await.map_err(failed)?;
        let check = check.ok_or_else(|| {
            EngineError::Refused(format!(
                "{} cannot be checked: its pipeline is archived",
                target.name
            ))
        })?;
        Ok(check.id)
    }

    fn nudge_build(&self, build: BuildId) {
        self.engine.nudge_build(build);
    }

    async fn abort(&self, build: BuildId, force: bool) -> Result<(), EngineError> {
        self.engine.abort(build, force).await.map_err(failed)
    }

    async fn hijack(&self, container: &ContainerHandle) -> Result<Hijack, EngineError> {
        let way_in = self.engine.hijack(container).await.map_err(|error| match error {
            jb_engine::HijackError::NotFound => EngineError::NotFound(error.to_string()),
            other => failed(other),
        })?;
        Ok(Hijack {
            client: way_in.client,
            env: way_in.env,
            user: way_in.user,
            dir: way_in.dir,
            privileged: way_in.privileged,
        })
    }

    async fn upload_artifact(
        &self,
        team: TeamId,
        tar: ByteStream,
    ) -> Result<VolumeHandle, EngineError> {
        self.engine.upload(team, tar).await.map_err(failed)
    }

    async fn artifact_stream(&self, volume: &VolumeHandle) -> Result<ByteStream, EngineError> {
        let place = self.engine.place_of_volume(volume).await.map_err(failed)?;
        place.runtime.stream_out(volume, ".").await.map_err(failed)
    }

    async fn workers(&self) -> Result<Vec<WorkerInfo>, EngineError> {
        let mut workers = Vec::new();
        for place in self.engine.places.iter() {
            let info = self.worker(place).await;
            // A place of several teams is shown to each of them.
            if place.teams.is_empty() {
                workers.push(info);
                continue;
            }
            let of_team = |team: &String| WorkerInfo { team: team.clone(), ..info.clone() };
            workers.extend(place.teams.iter().map(of_team));
        }
        Ok(workers)
    }

    async fn absent_workers(&self) -> Result<Vec<WorkerInfo>, EngineError> {
        let absent = self.engine.absent_workers().await.map_err(failed)?;
        let present = |rows: WorkerRows| WorkerInfo {
            name: rows.name,
            platform: "linux".to_owned(),
            active_containers: rows.containers,
            active_volumes: rows.volumes,
            state: "stalled".to_owned(),
            ..WorkerInfo::default()
        };
        Ok(absent.into_iter().map(present).collect())
    }

    async fn forget_worker(&self, name: &str) -> Result<(), EngineError> {
        self.engine.forget_worker(name).await.map_err(|error| match error {
            ForgetError::Unknown(_) => EngineError::NotFound(error.to_string()),
            ForgetError::Running | ForgetError::InUse { .. } => {
                EngineError::Refused(error.to_string())
            }
            ForgetError::Store(_) => failed(error),
        })
    }

    async fn pods(&self, build: BuildId) -> Result<Option<Vec<PodInfo>>, EngineError> {
        Ok(self.engine.places.pods(build))
    }

    fn pod_changes(&self) -> Option<watch::Receiver<u64>> {
        let places = self.engine.places.iter();
        let mut all: Vec<_> = places.filter_map(|place| place.runtime.pod_changes()).collect();
        if all.len() < 2 {
            return all.pop();
        }
        let (changed, changes) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let any = all.iter_mut().map(|changes| Box::pin(changes.changed()));
                tokio::select! {
                    (change, ..) = futures_util::future::select_all(any) => {
                        if change.is_err() {
                            return;
                        }
                        changed.send_modify(|count| *count += 1);
                    }
                    () = changed.closed() => return,
                }
            }
        });
        Some(changes)
    }

    async fn evaluate(&self, pipeline: PipelineId, text: &str) -> Result<String, EngineError> {
        self.engine.evaluate(pipeline, text).await.map_err(failed)
    }

    fn check_credentials(&self, config: &PipelineConfig) -> Vec<String> {
        self.engine.check_credentials(config)
    }

    fn log_level(&self) -> LogLevel {
        self.logging.level()
    }

    fn set_log_level(&self, level: LogLevel) {
        self.logging.set(level);
    }
}
