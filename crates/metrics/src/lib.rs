//! What the server counts, in one place: names, labels, buckets.
//!
//! What Concourse measures, too, has Concourse's name and labels, so that dashboards made for it work; all else begins
//! with `jetbridge_`. Nothing is global: who counts is given a [`Metrics`], and clones count together.
//!
//! Labels have bounds. Those that come from code (routes, verbs, kinds) are bounded by it; of those that users choose
//! (teams, pipelines, jobs) a metric takes so many sets, and counts what comes after them as `other`.

mod agents;
mod builds;
mod database;
mod http;
mod kubernetes;
mod labels;
mod register;
mod runtime;
mod scheduling;

use prometheus::{Registry, TextEncoder};

pub use agents::{Agents, Chat};
pub use builds::{Build, BuildEnd, Builds, Running, Step, Steps, Waiting};
pub use database::Database;
pub use http::Http;
pub use kubernetes::{Call, Calls, Pods};
pub use runtime::{Operations, Workers};
pub use scheduling::{Checks, Collection, Scheduling};

/// Everything that is counted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    pub builds: Builds,
    pub steps: Steps,
    pub checks: Checks,
    pub scheduling: Scheduling,
    pub collection: Collection,
    pub http: Http,
    pub database: Database,
    pub workers: Workers,
    pub operations: Operations,
    pub calls: Calls,
    pub pods: Pods,
    pub agents: Agents,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// With everything at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        Self {
            builds: Builds::new(&registry),
            steps: Steps::new(&registry),
            checks: Checks::new(&registry),
            scheduling: Scheduling::new(&registry),
            collection: Collection::new(&registry),
            http: Http::new(&registry),
            database: Database::new(&registry),
            workers: Workers::new(&registry),
            operations: Operations::new(&registry),
            calls: Calls::new(&registry),
            pods: Pods::new(&registry),
            agents: Agents::new(&registry),
            registry,
        }
    }

    /// The type of [`Self::text`].
    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    /// All of it, as Prometheus reads it.
    pub fn text(&self) -> String {
        // Fails for families without samples, of which the registry gives none.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
