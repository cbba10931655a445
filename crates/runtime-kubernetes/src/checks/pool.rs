//! Which pod a check runs in, and which pods have had their time. Pure.

use std::time::{Duration, Instant};

use crate::settings::CheckPods;

/// Sources that have a place of their own in one pod.
pub(crate) const SOURCES_MAX: u32 = 128;
/// Checks that run in one pod at a time.
const RUNNING_MAX: usize = 64;
/// Another server's pod is left to it for this long after it had its time.
const ABANDONED_AFTER: Duration = Duration::from_secs(10 * 60);

/// A pod as the decisions see it.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'a str,
    pub(crate) made: Instant,
    /// When a check last began or ended.
    pub(crate) used: Instant,
    pub(crate) n_begun: u32,
    pub(crate) n_running: usize,
    pub(crate) n_sources: u32,
    /// It has a place for the source that is asked for.
    pub(crate) knows_source: bool,
    /// Made by this server; others only see their checks through.
    pub(crate) own: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Use(String),
    /// A new one, once the pod named here is gone.
    Make {
        instead_of: Option<String>,
    },
    /// There are as many as there may be, and all are at work.
    Wait,
}

/// The pod that knows the source, else the one that does the most: so the others come to rest.
pub(crate) fn choose(pods: &[Seen<'_>], key: &str, now: Instant, bounds: &CheckPods) -> Choice {
    let fits = |pod: &&Seen<'_>| {
        pod.own
            && pod.key == key
            && !is_spent(pod, now, bounds)
            && pod.n_running < RUNNING_MAX
            && (pod.knows_source || pod.n_sources < SOURCES_MAX)
    };
    let best = pods.iter().filter(fits).max_by_key(|pod| (pod.knows_source, pod.n_running));
    if let Some(pod) = best {
        return Choice::Use(pod.name.to_owned());
    }
    if pods.iter().filter(|pod| pod.own).count() < bounds.max {
        return Choice::Make { instead_of: None };
    }
    let idle = pods.iter().filter(|pod| pod.own && pod.n_running == 0);
    match idle.min_by_key(|pod| pod.used) {
        Some(pod) => Choice::Make { instead_of: Some(pod.name.to_owned()) },
        None => Choice::Wait,
    }
}

/// The pods to delete: at rest, and old, worn, or without work for long.
pub(crate) fn retired(pods: &[Seen<'_>], now: Instant, bounds: &CheckPods) -> Vec<String> {
    let over = |pod: &&Seen<'_>| {
        let age = now.saturating_duration_since(pod.made);
        let idle = now.saturating_duration_since(pod.used);
        pod.n_running == 0
            && if pod.own {
                is_spent(pod, now, bounds) || idle > bounds.max_idle
            } else {
                age > bounds.max_age + ABANDONED_AFTER
            }
    };
    pods.iter().filter(over).map(|pod| pod.name.to_owned()).collect()
}

fn is_spent(pod: &Seen<'_>, now: Instant, bounds: &CheckPods) -> bool {
    now.saturating_duration_since(pod.made) > bounds.max_age || pod.n_begun >= bounds.max_checks
}

#[cfg(test)]
mod tests;
