//! Pods, and calls to the API servers of clusters.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use crate::register::{counters, gauges, histograms};

/// Seconds.
const CALL_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// Seconds.
const START_BUCKETS: [f64; 13] =
    [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// As in a Role: `create`, `watch`, `delete` and so on.
    pub verb: &'static str,
    /// With its subresource: `pods/exec`.
    pub resource: &'static str,
    /// Of the answer; `none` when there was none.
    pub code: &'a str,
}

/// Calls to API servers.
#[derive(Clone, Debug)]
pub struct Calls {
    total: IntCounterVec,
    durations: HistogramVec,
}

impl Calls {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            total: counters(
                registry,
                "jetbridge_kubernetes_requests_total",
                "Calls to the API server.",
                &["verb", "resource", "code"],
            ),
            durations: histograms(
                registry,
                "jetbridge_kubernetes_request_duration_seconds",
                "From a call to the API server to the beginning of its answer.",
                &["verb", "resource"],
                &CALL_BUCKETS,
            ),
        }
    }

    pub fn made(&self, call: &Call<'_>, took: Duration) {
        self.total.with_label_values(&[call.verb, call.resource, call.code]).inc();
        let labels = [call.verb, call.resource];
        self.durations.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

/// The lives of pods. Kinds are those of steps, `checks` and `artifacts`.
#[derive(Clone, Debug)]
pub struct Pods {
    present: IntGaugeVec,
    created: IntCounterVec,
    deleted: IntCounterVec,
    failed: IntCounterVec,
    phases: HistogramVec,
}

impl Pods {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            present: gauges(
                registry,
                "jetbridge_pods",
                "Pods that are there, by phase.",
                &["kind", "phase"],
            ),
            created: counters(
                registry,
                "jetbridge_pods_created_total",
                "Pods that were requested.",
                &["kind"],
            ),
            deleted: counters(
                registry,
                "jetbridge_pods_deleted_total",
                "Pods that were deleted.",
                &["kind"],
            ),
            failed: counters(
                registry,
                "jetbridge_pods_failed_total",
                "Pods whose runner never answered.",
                &["kind"],
            ),
            phases: histograms(
                registry,
                "jetbridge_pod_start_seconds",
                "From a pod's request until it has a node, and until its runner answers.",
                &["kind", "until"],
                &START_BUCKETS,
            ),
        }
    }

    /// One more pod of a phase, or one less.
    pub fn present(&self, kind: &str, phase: &str, change: i64) {
        self.present.with_label_values(&[kind, phase]).add(change);
    }

    pub fn created(&self, kind: &str) {
        self.created.with_label_values(&[kind]).inc();
    }

    pub fn deleted(&self, kind: &str) {
        self.deleted.with_label_values(&[kind]).inc();
    }

    pub fn failed(&self, kind: &str) {
        self.failed.with_label_values(&[kind]).inc();
    }

    pub fn scheduled(&self, kind: &str, after: Duration) {
        self.phases.with_label_values(&[kind, "scheduled"]).observe(after.as_secs_f64());
    }

    pub fn reached(&self, kind: &str, after: Duration) {
        self.phases.with_label_values(&[kind, "reached"]).observe(after.as_secs_f64());
    }
}
