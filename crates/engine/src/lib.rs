//! What drives the pure machines: scheduler, checks, builds and collection of garbage.
//!
//! Every loop here is a reconciler: it takes no input, re-reads what it needs, and runs when nudged
//! and on a timer. After a restart they simply run.

pub mod agents;
mod build;
mod cancel;
pub mod checks;
mod config_diff;
mod driver;
pub mod gc;
mod leaf;
mod log;
mod loops;
pub mod places;
mod process;
pub mod retention;
pub mod scheduler;
mod service;
mod supervisor;
pub mod trace;
mod turns;
mod workspace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jb_metrics::Metrics;
use jb_model::config::ContainerLimits;
use jb_model::{BuildStatus, Object, Timestamp};
use jb_store::{BuildRecord, Store};

pub use driver::Error;
pub use service::{EvaluateError, HijackError, UploadError, WayIn};

/// Where the engine gets the time from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the engine shall work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names this server in leases.
    pub owner: String,
    /// Where people reach the server, without a slash at its end.
    pub external_url: String,
    pub default_task_limits: ContainerLimits,
    pub default_timeouts: Timeouts,
    pub checks: checks::timing::CheckSettings,
    pub grace: gc::decide::GraceSettings,
    pub retention: retention::policy::RetentionLimits,
    pub agents: agents::AgentSettings,
    /// Merged under the source of every resource, type and image of a base type, by the type's name.
    pub base_defaults: BTreeMap<String, Object>,
    /// Counts what happens.
    pub metrics: Metrics,
    /// Takes the spans of builds.
    pub tracer: trace::Tracer,
}

/// Limits for steps that have none of their own; `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub get: Option<Duration>,
    pub put: Option<Duration>,
    pub task: Option<Duration>,
    pub check: Duration,
    /// Between the polite and the final signal to a step that is stopped.
    pub grace: Duration,
    /// A line that is not ended is shown after this long.
    pub quiet: Duration,
    /// Between attempts to reach a runner that does not answer.
    pub reconnect: Duration,
    /// How long a runner that cannot be reached is waited for when its step is cancelled meanwhile, or was.
    pub abandon: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            get: None,
            put: None,
            task: None,
            check: Duration::from_secs(3600),
            grace: Duration::from_secs(10),
            quiet: Duration::from_secs(1),
            reconnect: Duration::from_secs(1),
            abandon: Duration::from_secs(60),
        }
    }
}

/// The engine: everything that happens by itself.
pub struct Engine {
    pub store: Store,
    pub places: places::Places,
    pub settings: Settings,
    pub checks: Arc<checks::Checks>,
    pub scheduler: Arc<scheduler::Scheduler>,
    collector: Arc<gc::Collector>,
    retention: Arc<retention::Retention>,
    clock: Clock,
    turns: turns::Turns,
    /// Tells uploads of the same instant apart.
    uploads: std::sync::atomic::AtomicU64,
    supervisor: supervisor::Supervisor,
    copying: places::Copying,
}

impl Engine {
    pub fn new(
        store: Store,
        places: impl Into<places::Places>,
        settings: Settings,
        clock: Clock,
    ) -> Arc<Self> {
        let places = places.into();
        let configs = Arc::new(scheduler::configs::Configs::new(store.clone()));
        let planner = scheduler::plans::Planner { base_defaults: settings.base_defaults.clone() };
        let planner = Arc::new(planner);
        let checks = checks::Checks::new(
            store.clone(),
            configs.clone(),
            planner.clone(),
            settings.checks.clone(),
        );
        let checks = Arc::new(checks.counting(settings.metrics.checks.clone()));
        let scheduler =
            scheduler::Scheduler::new(store.clone(), configs.clone(), checks.clone(), planner)
                .counting(settings.metrics.scheduling.clone());
        let collector = gc::Collector::new(store.clone(), places.clone(), settings.grace.clone())
            .counting(settings.metrics.collection.clone());
        let retention =
            retention::Retention::new(store.clone(), configs, settings.retention, false);
        Arc::new(Self {
            store,
            places,
            copying: places::Copying::default(),
            settings,
            checks,
            scheduler: Arc::new(scheduler),
            collector: Arc::new(collector),
            retention: Arc::new(retention),
            clock,
            turns: turns::Turns::default(),
            uploads: std::sync::atomic::AtomicU64::new(0),
            supervisor: supervisor::Supervisor::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// What happens once a build is over.
    async fn build_ended(&self, build: &BuildRecord, status: BuildStatus) -> jb_store::Result<()> {
        tracing::debug!(build = %build.id, %status, "build ended");
        if let Some(resource) = build.resource_id {
            self.checks.build_ended(resource, self.now()).await?;
        }
        let build = build.id;
        if status == BuildStatus::Succeeded {
            let collector = self.collector.clone();
            // A restart in between leaves them to the next round of collection.
            tokio::spawn(async move { collector.remove_finished_containers_of(build).await });
        }
        Ok(())
    }
}
