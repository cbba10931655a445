//! A server without driver: a store in memory, scheduler and checks, and a clock that is told.

use std::sync::Arc;

use jb_model::{BuildId, BuildStatus, JobId, Object, PipelineId, ResourceId, Timestamp, Version};
use jb_store::{Options, Page, ResourceKind, SaveOutcome, SavePipeline, Store};

use crate::checks::Checks;
use crate::checks::timing::CheckSettings;
use crate::scheduler::Scheduler;
use crate::scheduler::configs::Configs;
use crate::scheduler::plans::Planner;

pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) checks: Arc<Checks>,
    pub(crate) configs: Arc<Configs>,
    pub(crate) pipeline: PipelineId,
    pub(crate) now: Timestamp,
}

/// `1` stands for `{"ref": "1"}`.
pub(crate) fn version(name: &str) -> Version {
    Version::from([("ref".to_owned(), name.to_owned())])
}

impl Server {
    pub(crate) async fn new(yaml: &str) -> Self {
        Self::with_settings(yaml, CheckSettings::default()).await
    }

    pub(crate) async fn with_settings(yaml: &str, settings: CheckSettings) -> Self {
        let now = Timestamp::from_unix_seconds(1_000_000);
        let store = Store::open("sqlite::memory:", Options::default(), now).await.unwrap();
        let configs = Arc::new(Configs::new(store.clone()));
        let planner = Arc::new(Planner::default());
        let checks =
            Arc::new(Checks::new(store.clone(), configs.clone(), planner.clone(), settings));
        let scheduler =
            Arc::new(Scheduler::new(store.clone(), configs.clone(), checks.clone(), planner));
        let pipeline = PipelineId(0);
        let mut server = Self { store, scheduler, checks, configs, pipeline, now };
        server.set_pipeline(yaml).await;
        server
    }

    pub(crate) async fn set_pipeline(&mut self, yaml: &str) {
        let (team, _) =
            self.store.save_team("main", &serde_json::json!({}), self.now).await.unwrap();
        let checked = jb_pipeline::check_pipeline(yaml);
        assert!(checked.is_valid(), "{:?}", checked.diagnostics);
        let save = SavePipeline {
            team: team.id,
            name: "p",
            instance_vars: &Object::new(),
            config: &checked.normalised,
            from_version: None,
            initially_paused: false,
            set_by: None,
        };
        self.pipeline = match self.store.save_pipeline(save, self.now).await.unwrap() {
            SaveOutcome::Created { pipeline, .. } | SaveOutcome::Updated { pipeline, .. } => {
                pipeline
            }
            SaveOutcome::SetByNewerBuild { .. } => panic!("not set"),
        };
    }

    pub(crate) fn tick(&mut self, seconds: i64) {
        self.now = Timestamp(self.now.0 + seconds * 1_000_000);
    }

    pub(crate) async fn job(&self, name: &str) -> JobId {
        self.store.job_by_name(self.pipeline, name).await.unwrap().unwrap().id
    }

    pub(crate) async fn resource(&self, name: &str) -> ResourceId {
        let kind = ResourceKind::Resource;
        self.store.resource_by_name(self.pipeline, kind, name).await.unwrap().unwrap().id
    }

    /// A check of the resource that finds these versions; what checks are running ends with it.
    pub(crate) async fn checked(&mut self, resource: &str, versions: &[&str]) {
        let versions: Vec<Version> = versions.iter().map(|name| version(name)).collect();
        self.check_ended(resource, Some(&versions)).await;
    }

    pub(crate) async fn check_ended(&mut self, name: &str, found: Option<&[Version]>) {
        let resource = self.resource(name).await;
        let (scope, _) = self
            .store
            .set_scope(resource, &format!("hash of {name}"), false, self.now)
            .await
            .unwrap();
        let stale = Timestamp(0);
        assert!(self.store.start_check(scope, None, stale, self.now).await.unwrap());
        self.tick(1);
        self.checks.finish(Some(resource), scope, found, self.now).await.unwrap();
        for build in self.running_checks(name).await {
            let status = if found.is_some() { BuildStatus::Succeeded } else { BuildStatus::Failed };
            self.store.finish_build(build, status, None, self.now).await.unwrap();
        }
    }

    /// Check builds of a resource that have not ended.
    pub(crate) async fn running_checks(&self, resource: &str) -> Vec<BuildId> {
        let resource = self.resource(resource).await;
        self.store.running_checks(resource).await.unwrap()
    }

    /// Passes over jobs until nothing is due.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..50 {
            if self.scheduler.clone().run_due(self.now).await.unwrap() == 0 {
                return;
            }
            self.tick(1);
        }
        panic!("scheduling does not come to rest");
    }

    pub(crate) async fn trigger(&mut self, job: &str) -> BuildId {
        self.tick(1);
        let job = self.job(job).await;
        self.store.create_job_build(job, Some("someone"), self.now).await.unwrap().id
    }

    pub(crate) async fn finish(&mut self, build: BuildId, status: BuildStatus) {
        self.tick(1);
        assert!(self.store.finish_build(build, status, None, self.now).await.unwrap());
    }

    pub(crate) async fn build(&self, job: &str, name: &str) -> BuildId {
        let job = self.job(job).await;
        self.store.build_by_name(job, name).await.unwrap().unwrap().id
    }

    /// A job's builds, oldest first: `1 started x=2`.
    pub(crate) async fn builds(&self, job: &str) -> Vec<String> {
        let job = self.job(job).await;
        let mut builds = self.store.job_builds(job, Page::newest(100)).await.unwrap().items;
        builds.sort_by_key(|build| build.id);
        let mut lines = Vec::new();
        for build in builds {
            let mut line = format!("{} {}", build.name, build.status);
            for input in self.store.build_inputs(build.id).await.unwrap() {
                line.push_str(&format!(" {}={}", input.name, input.version["ref"]));
            }
            lines.push(line);
        }
        lines
    }
}
