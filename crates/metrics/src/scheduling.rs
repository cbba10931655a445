//! What happens by itself: scheduling, checks, collection of garbage.

use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use crate::labels::Bounded;
use crate::register::{counter, counters, gauge, histogram, histograms};

/// Milliseconds, as Concourse measures here.
const MILLIS_BUCKETS: [f64; 13] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 60_000.0,
];

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Turns over jobs.
#[derive(Clone, Debug)]
pub struct Scheduling {
    total: IntCounter,
    under_way: IntGauge,
    durations: HistogramVec,
    named: Bounded,
}

impl Scheduling {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            total: counter(registry, "concourse_jobs_scheduled_total", "Turns over jobs."),
            under_way: gauge(registry, "concourse_jobs_scheduling", "Jobs being scheduled."),
            durations: histograms(
                registry,
                "concourse_jobs_schedulingDuration",
                "Milliseconds of a turn over a job.",
                &["pipeline", "job", "job_id"],
                &MILLIS_BUCKETS,
            ),
            named: Bounded::default(),
        }
    }

    /// A turn over a job begins; drop what this returns at its end.
    pub fn turn(&self, pipeline: &str, job: &str, job_id: i64) -> Turn {
        self.under_way.inc();
        let id = job_id.to_string();
        let labels = self.named.set([pipeline, job, &id]);
        Turn {
            under_way: self.under_way.clone(),
            total: self.total.clone(),
            duration: self.durations.with_label_values(&labels),
            since: Instant::now(),
        }
    }
}

/// Counts a turn over a job as under way until it is dropped.
#[derive(Debug)]
pub struct Turn {
    under_way: IntGauge,
    total: IntCounter,
    duration: Histogram,
    since: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.dec();
        self.total.inc();
        self.duration.observe(millis(self.since.elapsed()));
    }
}

/// Checks of resources.
#[derive(Clone, Debug)]
pub struct Checks {
    enqueued: IntCounter,
    started: IntCounter,
    finished: IntCounterVec,
}

impl Checks {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            enqueued: counter(
                registry,
                "concourse_lidar_checks_enqueued_total",
                "Checks that were asked for and got a build.",
            ),
            started: counter(
                registry,
                "concourse_lidar_checks_started_total",
                "Checks whose script was run.",
            ),
            finished: counters(
                registry,
                "concourse_lidar_checks_finished_total",
                "Checks whose script ended, by how it did.",
                &["status"],
            ),
        }
    }

    pub fn enqueued(&self) {
        self.enqueued.inc();
    }

    pub fn started(&self) {
        self.started.inc();
    }

    pub fn finished(&self, well: bool) {
        self.finished.with_label_values(&[if well { "success" } else { "error" }]).inc();
    }
}

/// Rounds of collecting what nobody needs.
#[derive(Clone, Debug)]
pub struct Collection {
    containers: Histogram,
    volumes: Histogram,
    removed: IntCounterVec,
}

impl Collection {
    pub(crate) fn new(registry: &Registry) -> Self {
        let rounds = |what: &str| {
            histogram(
                registry,
                &format!("concourse_gc_gc_{what}_collector_duration"),
                &format!("Milliseconds of a round of collecting {what}s."),
                &MILLIS_BUCKETS,
            )
        };
        Self {
            containers: rounds("container"),
            volumes: rounds("volume"),
            removed: counters(
                registry,
                "jetbridge_collected_total",
                "What rounds removed because nobody needed it any more.",
                &["what"],
            ),
        }
    }

    pub fn containers(&self, took: Duration, removed: usize) {
        self.containers.observe(millis(took));
        self.removed.with_label_values(&["containers"]).inc_by(removed as u64);
    }

    pub fn volumes(&self, took: Duration, removed: usize) {
        self.volumes.observe(millis(took));
        self.removed.with_label_values(&["volumes"]).inc_by(removed as u64);
    }
}
