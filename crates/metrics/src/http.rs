//! Requests to the server.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::register::{counters, gauges, histograms};

/// Seconds.
const BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Answers to requests.
#[derive(Clone, Debug)]
pub struct Http {
    responses: HistogramVec,
    at_once: IntGaugeVec,
    refused: IntCounterVec,
}

/// Counts a request as under way until it is dropped.
#[derive(Debug)]
pub struct UnderWay(IntGauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Http {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            responses: histograms(
                registry,
                "concourse_http_responses_duration_seconds",
                "From a request to the beginning of its answer.",
                &["method", "route", "status"],
                &BUCKETS,
            ),
            at_once: gauges(
                registry,
                "concourse_concurrent_requests",
                "Requests under way of actions that have a limit.",
                &["action"],
            ),
            refused: counters(
                registry,
                "concourse_concurrent_requests_limit_hit_total",
                "Requests refused because of an action's limit.",
                &["action"],
            ),
        }
    }

    /// `route` is the name of an action.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        let labels = [method, route, &status];
        self.responses.with_label_values(&labels).observe(took.as_secs_f64());
    }

    pub fn under_way(&self, action: &str) -> UnderWay {
        let gauge = self.at_once.with_label_values(&[action]);
        gauge.inc();
        UnderWay(gauge)
    }

    pub fn refused(&self, action: &str) {
        self.refused.with_label_values(&[action]).inc();
    }
}
