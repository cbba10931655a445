//! Which checks a pending build waits for before its inputs are chosen.

use std::collections::BTreeSet;

use jb_model::{ResourceId, Timestamp};

/// How a pending build came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A person asked for it.
    Manual,
    /// A new version did.
    Trigger,
    /// It repeats another build.
    Rerun,
}

/// An input of the job, as far as checks concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedInput {
    pub resource: ResourceId,
    pub trigger: bool,
    pub has_passed: bool,
    /// The resource is pinned, in its configuration or by a person.
    pub resource_pinned: bool,
    /// When the last check of its present scope ended, well or not.
    pub last_check_ended: Option<Timestamp>,
    /// When the next one is due; the end of the last where none is scheduled.
    pub next_check: Option<Timestamp>,
}

/// The resources whose checks a build created then still waits for. What passed other jobs, or is
/// pinned, cannot change by a check.
pub fn awaited_checks(
    origin: Origin,
    created_at: Timestamp,
    inputs: &[CheckedInput],
) -> BTreeSet<ResourceId> {
    inputs
        .iter()
        .filter(|input| !input.has_passed && !input.resource_pinned)
        .filter(|input| match origin {
            Origin::Rerun => false,
            Origin::Manual => input.last_check_ended.is_none_or(|ended| ended < created_at),
            // A version of the others triggered it; these may be as old as their interval.
            Origin::Trigger => {
                !input.trigger && input.next_check.is_some_and(|due| due < created_at)
            }
        })
        .map(|input| input.resource)
        .collect()
}
