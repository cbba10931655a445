//! The database.

use prometheus::{IntCounter, IntGaugeVec, Registry};

use crate::register::{counter, gauges};

#[derive(Clone, Debug)]
pub struct Database {
    queries: IntCounter,
    connections: IntGaugeVec,
}

impl Database {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            queries: counter(registry, "concourse_db_queries_total", "Statements executed."),
            connections: gauges(
                registry,
                "concourse_db_connections",
                "Open connections.",
                &["dbname"],
            ),
        }
    }

    pub fn query(&self) {
        self.queries.inc();
    }

    /// `name` is the pool's.
    pub fn connections(&self, name: &str, open: u32) {
        self.connections.with_label_values(&[name]).set(open.into());
    }
}
