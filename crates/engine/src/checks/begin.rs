//! Whether a check that is about to run still needs to: a pure decision.

use std::time::Duration;

use jb_model::Timestamp;
use jb_store::CheckState;

/// What asks for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The check of a resource, by itself.
    Resource,
    /// The check of a type (or of an image) as part of something else.
    Image,
}

/// A check as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub purpose: Purpose,
    /// It shall not wait for its interval: someone asked for it.
    pub skip_interval: bool,
    /// It asks for versions from a given one on, which no other check does.
    pub has_from_version: bool,
    /// The time between periodic checks; none for never.
    pub interval: Option<Duration>,
    pub build_created: Timestamp,
    pub build_started: Timestamp,
}

/// True when what is known already serves: the check is skipped and counts as a success.
pub fn is_served(planned: &Planned, last: &CheckState, now: Timestamp) -> bool {
    let next_due = last.last_end.zip(planned.interval).map(|(end, interval)| end.after(interval));
    let not_due = next_due.is_some_and(|due| now < due);
    match planned.purpose {
        Purpose::Image => {
            let ended_since = last.last_end.is_some_and(|end| end > planned.build_started);
            last.succeeded && (ended_since || (not_due && !planned.skip_interval))
        }
        Purpose::Resource if planned.skip_interval => {
            let started_since = last.last_start.is_some_and(|start| start > planned.build_created);
            !planned.has_from_version && last.succeeded && started_since
        }
        Purpose::Resource => not_due,
    }
}
