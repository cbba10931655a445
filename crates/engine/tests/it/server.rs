//! A server: a store in memory, a fake runtime and an engine that can be dropped and begun anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jb_engine::agents::AgentSettings;
use jb_engine::gc::decide::GraceSettings;
use jb_engine::places::{Place, Places};
use jb_engine::{Engine, Settings, Timeouts};
use jb_model::{
    BuildEvent, BuildId, BuildStatus, ContainerHandle, JobId, Object, PipelineId, Plan, ResourceId,
    Timestamp,
};
use jb_runtime::Runtime as _;
use jb_runtime::fake::FakeRuntime;
use jb_store::{
    Allowance, ContainerFilter, Options, ResourceKind, SaveOutcome, SavePipeline, Store, TeamRecord,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A test that waits longer than this waits for nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) fake: FakeRuntime,
    /// Further places, with their teams and tags.
    pub(crate) more: Vec<(FakeRuntime, Vec<String>, Vec<String>)>,
    pub(crate) team: TeamRecord,
    pub(crate) pipeline: PipelineId,
    pub(crate) timeouts: Timeouts,
    pub(crate) agents: AgentSettings,
    pub(crate) base_defaults: BTreeMap<String, Object>,
    now: Arc<AtomicI64>,
    running: Option<(Arc<Engine>, JoinHandle<()>, watch::Sender<bool>)>,
}

impl Server {
    /// A server that runs, with the pipeline `p` of the team `main`.
    pub(crate) async fn new(yaml: &str) -> Self {
        let mut server = Self::stopped(FakeRuntime::new(), yaml).await;
        server.start(None);
        server
    }

    /// One whose engine is not started yet.
    pub(crate) async fn stopped(fake: FakeRuntime, yaml: &str) -> Self {
        let now = Arc::new(AtomicI64::new(1_000_000_000_000));
        let at = Timestamp(now.load(Ordering::Relaxed));
        let store = Store::open("sqlite::memory:", Options::default(), at).await.unwrap();
        let team = store.ensure_main_team(&json!({}), at).await.unwrap();
        let pipeline = PipelineId(0);
        let (quiet, reconnect) = (Duration::from_millis(20), Duration::from_millis(1));
        let timeouts = Timeouts { quiet, reconnect, ..Timeouts::default() };
        let agents = AgentSettings::default();
        let mut server = Self {
            store,
            fake,
            more: Vec::new(),
            team,
            pipeline,
            timeouts,
            agents,
            base_defaults: BTreeMap::new(),
            now,
            running: None,
        };
        server.pipeline = server.set_pipeline("p", yaml).await;
        server
    }

    /// Time goes on by a microsecond whenever someone looks at it.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        let micros = i64::try_from(duration.as_micros()).unwrap();
        self.now.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn start(&mut self, allowance: Option<Arc<Allowance>>) {
        let settings = Settings {
            metrics: jb_metrics::Metrics::default(),
            tracer: Default::default(),
            owner: "test".to_owned(),
            external_url: "http://server".to_owned(),
            default_task_limits: Default::default(),
            default_timeouts: self.timeouts,
            checks: Default::default(),
            // What a build leaves is compared after its end, however often the clock leapt meanwhile.
            grace: GraceSettings {
                volume: Duration::from_secs(24 * 3600),
                ..GraceSettings::default()
            },
            retention: Default::default(),
            agents: self.agents.clone(),
            base_defaults: self.base_defaults.clone(),
        };
        let store = match allowance {
            Some(allowance) => self.store.limited(allowance),
            None => self.store.clone(),
        };
        let now = self.now.clone();
        let clock = Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed)));
        let engine = Engine::new(store, self.places(), settings, clock);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(engine.clone().run(stopped));
        self.running = Some((engine, task, stop));
    }

    fn places(&self) -> Places {
        if self.more.is_empty() {
            return Arc::new(self.fake.clone()).into();
        }
        let mut all = vec![Place::new(Arc::new(self.fake.clone()), Vec::new(), Vec::new())];
        for (fake, teams, tags) in &self.more {
            all.push(Place::new(Arc::new(fake.clone()), teams.clone(), tags.clone()));
        }
        Places::new(all).unwrap()
    }

    /// The server dies; its containers go on. Its leases run out before the next one starts.
    pub(crate) async fn crash(&mut self) {
        let (_, task, _) = self.running.take().expect("the server runs");
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        self.advance(Duration::from_secs(31));
    }

    /// The server ends in good order.
    pub(crate) async fn stop(&mut self) {
        let (_, task, stop) = self.running.take().expect("the server runs");
        stop.send_replace(true);
        task.await.unwrap();
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.running.as_ref().expect("the server runs").0
    }

    pub(crate) async fn set_pipeline(&self, name: &str, yaml: &str) -> PipelineId {
        let checked = jb_pipeline::check_pipeline(yaml);
        assert!(checked.is_valid(), "{:?}", checked.diagnostics);
        let save = SavePipeline {
            team: self.team.id,
            name,
            instance_vars: &Object::new(),
            config: &checked.normalised,
            from_version: None,
            initially_paused: false,
            set_by: None,
        };
        match self.store.save_pipeline(save, self.now()).await.unwrap() {
            SaveOutcome::Created { pipeline, .. } | SaveOutcome::Updated { pipeline, .. } => {
                pipeline
            }
            SaveOutcome::SetByNewerBuild { .. } => panic!("not set"),
        }
    }

    pub(crate) async fn job(&self, name: &str) -> JobId {
        self.store.job_by_name(self.pipeline, name).await.unwrap().unwrap().id
    }

    pub(crate) async fn resource(&self, name: &str) -> ResourceId {
        let kind = ResourceKind::Resource;
        self.store.resource_by_name(self.pipeline, kind, name).await.unwrap().unwrap().id
    }

    pub(crate) async fn trigger(&self, job: &str) -> BuildId {
        let job = self.job(job).await;
        self.store.create_job_build(job, Some("someone"), self.now()).await.unwrap().id
    }

    /// A one-off build of a plan.
    pub(crate) async fn execute(&self, plan: &Plan) -> BuildId {
        let plan = serde_json::from_str(&jb_wire::plan::to_private(plan).unwrap()).unwrap();
        let store = &self.store;
        let now = self.now();
        store.create_started_build(self.team.id, None, &plan, None, now).await.unwrap().id
    }

    /// Waits until `look` finds what it looks for, looking again after every change of the store.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut changes = self.store.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                let _ = changes.recv().await;
            }
        };
        let Ok(found) = tokio::time::timeout(PATIENCE, waiting).await else {
            panic!("waited in vain for {what}: {:#?}", self.everything().await)
        };
        found
    }

    /// What all builds said, for those who ask why.
    async fn everything(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for build in 1.. {
            let Some(record) = self.store.build(BuildId(build)).await.unwrap() else { break };
            lines.push(format!("== build {build} {} {}", record.name, record.status));
            lines.extend(self.said(BuildId(build)).await);
        }
        lines
    }

    pub(crate) async fn ended(&self, build: BuildId) -> BuildStatus {
        self.until(&format!("the end of build {build}"), async || {
            let status = self.store.build(build).await.unwrap()?.status;
            status.is_final().then_some(status)
        })
        .await
    }

    /// Waits until nothing of a build is there: no container is recorded, and none runs.
    pub(crate) async fn until_nothing_runs(&self, build: BuildId) {
        let of_build = ContainerFilter { build: Some(build), ..ContainerFilter::default() };
        let own = format!("b{build}-");
        let gone = async || {
            let present = self.fake.list().await.unwrap();
            self.store.containers(&of_build, 9).await.unwrap().is_empty()
                && !present.iter().any(|container| container.handle.as_str().starts_with(&own))
        };
        let waited = tokio::time::timeout(PATIENCE, async {
            while !gone().await {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "{}", self.log(build).await);
    }

    /// Triggers a job and waits for the build's end.
    pub(crate) async fn run(&self, job: &str) -> (BuildId, BuildStatus) {
        let build = self.trigger(job).await;
        (build, self.ended(build).await)
    }

    /// Waits until the build's log has this text.
    pub(crate) async fn logged(&self, build: BuildId, text: &str) {
        let what = format!("`{text}` in the log of build {build}");
        self.until(&what, async || self.log(build).await.contains(text).then_some(())).await;
    }

    /// Waits until any of the first builds says this.
    pub(crate) async fn logged_anywhere(&self, text: &str) {
        self.until(text, async || {
            self.everything().await.iter().any(|line| line.contains(text)).then_some(())
        })
        .await;
    }

    pub(crate) async fn events(&self, build: BuildId) -> Vec<BuildEvent> {
        let stored = self.store.events(build, 0, usize::MAX).await.unwrap();
        let decode = |json: &str| jb_wire::event::from_envelope(json).unwrap().1;
        stored.iter().map(|event| decode(&event.json)).collect()
    }

    /// The whole log as text.
    pub(crate) async fn log(&self, build: BuildId) -> String {
        let events = self.events(build).await.into_iter();
        let text = events.filter_map(|event| match event {
            BuildEvent::Log { payload, .. } => Some(payload),
            _ => None,
        });
        text.collect()
    }

    pub(crate) async fn errors(&self, build: BuildId) -> Vec<String> {
        let events = self.events(build).await.into_iter();
        let errors = events.filter_map(|event| match event {
            BuildEvent::Error { message, .. } => Some(message),
            _ => None,
        });
        errors.collect()
    }

    /// The events, one per line, without times; see [`lines`].
    pub(crate) async fn said(&self, build: BuildId) -> Vec<String> {
        let stored = self.store.events(build, 0, usize::MAX).await.unwrap();
        lines(stored.iter().map(|event| event.json.as_str()))
    }

    /// The container of a build's step, by the step's kind and name.
    pub(crate) async fn container(&self, build: BuildId, step: &str) -> ContainerHandle {
        let filter = ContainerFilter {
            build: Some(build),
            step_name: Some(step.to_owned()),
            ..Default::default()
        };
        self.store.containers(&filter, 10).await.unwrap()[0].handle.clone()
    }
}

/// Events as lines: `name origin data`, without times and workers. Plans are named by letters in the order in which
/// they speak. A log in pieces is one line.
pub(crate) fn lines<'a>(events: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    let mut last_log = None;
    for json in events {
        let mut event: serde_json::Value = serde_json::from_str(json).unwrap();
        let kind = event["event"].as_str().unwrap().to_owned();
        let mut data = event["data"].take();
        let fields = data.as_object_mut().unwrap();
        fields.remove("time");
        fields.remove("selected_worker");
        fields.remove("plan");
        let origin = fields.remove("origin").unwrap_or_default();
        let id = origin["id"].as_str().unwrap_or_default().to_owned();
        let (root, rest) = match id.split_once('/') {
            Some((root, rest)) => (root, format!("/{rest}")),
            None => (id.as_str(), String::new()),
        };
        let number = names.iter().position(|name| name == root).unwrap_or_else(|| {
            names.push(root.to_owned());
            names.len() - 1
        });
        let source = origin["source"].as_str().unwrap_or_default();
        // A build's own events have no origin.
        let name = if id.is_empty() { "-".to_owned() } else { format!("#{number}{rest}") };
        if kind == "log" {
            let text = data["payload"].as_str().unwrap().to_owned();
            let speaker = format!("log {name} {source} ");
            let line = match &last_log {
                Some((last, before)) if *last == speaker => {
                    lines.pop();
                    format!("{before}{text}")
                }
                _ => text,
            };
            lines.push(format!("{speaker}{line:?}"));
            last_log = Some((speaker, line));
        } else {
            last_log = None;
            lines.push(format!("{kind} {name} {data}"));
        }
    }
    lines
}
