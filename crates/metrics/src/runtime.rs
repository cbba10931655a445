//! Where containers run.

use std::time::Duration;

use prometheus::{HistogramVec, IntGaugeVec, Registry};

use crate::register::{gauges, histograms};

/// Seconds.
const BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0];
const PLATFORM: &str = "linux";

/// What workers hold.
#[derive(Clone, Debug)]
pub struct Workers {
    containers: IntGaugeVec,
    volumes: IntGaugeVec,
    registered: IntGaugeVec,
}

impl Workers {
    pub(crate) fn new(registry: &Registry) -> Self {
        let labels = ["worker", "platform", "team", "tags"];
        let held = |what: &str| {
            let help = format!("The {what} of each worker.");
            gauges(registry, &format!("concourse_workers_{what}"), &help, &labels)
        };
        Self {
            containers: held("containers"),
            volumes: held("volumes"),
            registered: gauges(
                registry,
                "concourse_workers_registered",
                "Workers by state.",
                &["state"],
            ),
        }
    }

    /// Forgets the workers of before, before those of now are told.
    pub fn clear(&self) {
        self.containers.reset();
        self.volumes.reset();
        self.registered.reset();
    }

    pub fn holds(&self, worker: &str, team: &str, tags: &str, containers: u64, volumes: u64) {
        let labels = [worker, PLATFORM, team, tags];
        self.containers.with_label_values(&labels).set(count(containers));
        self.volumes.with_label_values(&labels).set(count(volumes));
        self.registered.with_label_values(&["running"]).inc();
    }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// What runtimes are asked to do.
#[derive(Clone, Debug)]
pub struct Operations {
    containers: HistogramVec,
    volumes: HistogramVec,
}

impl Operations {
    pub(crate) fn new(registry: &Registry) -> Self {
        let labels = ["worker", "operation", "result"];
        let of = |what: &str| {
            let name = format!("jetbridge_{what}_operations_seconds");
            let help = format!("What workers were asked to do with a {what}.");
            histograms(registry, &name, &help, &labels, &BUCKETS)
        };
        Self { containers: of("container"), volumes: of("volume") }
    }

    pub fn container(&self, worker: &str, operation: &str, well: bool, took: Duration) {
        let labels = [worker, operation, result(well)];
        self.containers.with_label_values(&labels).observe(took.as_secs_f64());
    }

    pub fn volume(&self, worker: &str, operation: &str, well: bool, took: Duration) {
        let labels = [worker, operation, result(well)];
        self.volumes.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

fn result(well: bool) -> &'static str {
    if well { "ok" } else { "error" }
}
