//! Builds and their steps.

use std::time::{Duration, Instant};

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::labels::Bounded;
use crate::register::{counter, counters, gauge, gauges, histograms};

/// Seconds.
const BUILD_BUCKETS: [f64; 13] = [
    1.0, 60.0, 180.0, 300.0, 600.0, 900.0, 1_200.0, 1_800.0, 2_700.0, 3_600.0, 7_200.0, 18_000.0,
    36_000.0,
];
/// Seconds.
const WAIT_BUCKETS: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// Where a build belongs. Pipeline and job are empty for those that have none.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    pub team: &'a str,
    pub pipeline: &'a str,
    pub job: &'a str,
    /// Checks are counted apart.
    pub is_check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildEnd {
    Succeeded,
    Failed,
    Errored,
    Aborted,
}

impl BuildEnd {
    fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Aborted => "aborted",
        }
    }

    /// As Concourse numbers them.
    fn number(self) -> i64 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Aborted => 2,
            Self::Errored => 3,
        }
    }
}

#[derive(Clone, Debug)]
struct Group {
    started: IntCounter,
    running: IntGauge,
    finished: IntCounter,
    succeeded: IntCounter,
    failed: IntCounter,
    errored: IntCounter,
    aborted: IntCounter,
}

impl Group {
    fn new(registry: &Registry, prefix: &str, what: &str) -> Self {
        let total = |end: &str| {
            counter(registry, &format!("{prefix}_{end}_total"), &format!("{what} that {end}."))
        };
        Self {
            started: total("started"),
            running: gauge(registry, &format!("{prefix}_running"), &format!("{what} that run.")),
            finished: total("finished"),
            succeeded: total("succeeded"),
            failed: total("failed"),
            errored: total("errored"),
            aborted: total("aborted"),
        }
    }
}

/// Builds as a whole.
#[derive(Clone, Debug)]
pub struct Builds {
    jobs: Group,
    checks: Group,
    by_status: IntCounterVec,
    durations: HistogramVec,
    latest: IntGaugeVec,
    named: Bounded,
}

/// Counts a build as running until it is dropped.
#[derive(Debug)]
pub struct Running(IntGauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Builds {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            jobs: Group::new(registry, "concourse_builds", "Builds"),
            checks: Group::new(registry, "concourse_builds_check", "Checks"),
            by_status: counters(
                registry,
                "concourse_builds_finished",
                "Builds that ended, by status.",
                &["team", "pipeline", "job", "status"],
            ),
            durations: histograms(
                registry,
                "concourse_builds_duration_seconds",
                "From the start to the end of builds.",
                &["team", "pipeline", "job"],
                &BUILD_BUCKETS,
            ),
            latest: gauges(
                registry,
                "concourse_builds_latest_completed_build_status",
                "The last end of each job: 0 succeeded, 1 failed, 2 aborted, 3 errored.",
                &["jobName", "pipelineName", "teamName"],
            ),
            named: Bounded::default(),
        }
    }

    fn group(&self, build: &Build<'_>) -> &Group {
        if build.is_check { &self.checks } else { &self.jobs }
    }

    pub fn started(&self, build: &Build<'_>) {
        self.group(build).started.inc();
    }

    /// This server drives a build.
    pub fn running(&self, build: &Build<'_>) -> Running {
        let running = self.group(build).running.clone();
        running.inc();
        Running(running)
    }

    pub fn finished(&self, build: &Build<'_>, end: BuildEnd, took: Duration) {
        let group = self.group(build);
        group.finished.inc();
        match end {
            BuildEnd::Succeeded => group.succeeded.inc(),
            BuildEnd::Failed => group.failed.inc(),
            BuildEnd::Errored => group.errored.inc(),
            BuildEnd::Aborted => group.aborted.inc(),
        }
        if build.is_check {
            return;
        }
        let [team, pipeline, job] = self.named.set([build.team, build.pipeline, build.job]);
        self.by_status.with_label_values(&[team, pipeline, job, end.name()]).inc();
        self.durations.with_label_values(&[team, pipeline, job]).observe(took.as_secs_f64());
        if !job.is_empty() {
            self.latest.with_label_values(&[job, pipeline, team]).set(end.number());
        }
    }
}

/// A step that asks for a container.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub team: &'a str,
    pub team_id: i64,
    /// `get`, `put`, `task` and the like.
    pub kind: &'static str,
}

const PLATFORM: &str = "linux";

/// Steps and what they wait for.
#[derive(Clone, Debug)]
pub struct Steps {
    waiting: IntGaugeVec,
    waits: HistogramVec,
    cache_hits: IntCounter,
    named: Bounded,
}

/// Counts a step as waiting until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    gauge: IntGauge,
    wait: prometheus::Histogram,
    since: Instant,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gauge.dec();
        self.wait.observe(self.since.elapsed().as_secs_f64());
    }
}

impl Steps {
    pub(crate) fn new(registry: &Registry) -> Self {
        let labels = ["platform", "teamId", "teamName", "type", "workerTags"];
        Self {
            waiting: gauges(
                registry,
                "concourse_steps_waiting",
                "Steps that wait for their container to start.",
                &labels,
            ),
            waits: histograms(
                registry,
                "concourse_steps_wait_duration",
                "Seconds that steps waited for their container to start.",
                &labels,
                &WAIT_BUCKETS,
            ),
            cache_hits: counter(
                registry,
                "concourse_caches_get_step_cache_hits",
                "Versions that a get found fetched.",
            ),
            named: Bounded::default(),
        }
    }

    /// A step asked for its container; drop what this returns once it has it.
    pub fn waiting(&self, step: &Step<'_>) -> Waiting {
        let team_id = step.team_id.to_string();
        let [id, team] = self.named.set([&team_id, step.team]);
        let labels = [PLATFORM, id, team, step.kind, ""];
        let gauge = self.waiting.with_label_values(&labels);
        gauge.inc();
        Waiting { gauge, wait: self.waits.with_label_values(&labels), since: Instant::now() }
    }

    pub fn cache_hit(&self) {
        self.cache_hits.inc();
    }
}
