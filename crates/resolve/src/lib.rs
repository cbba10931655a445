//! Which versions a job's next build takes.
//!
//! [`resolve`] is a pure function over a [`View`]: the facts about versions and builds that were
//! loaded so far. When a fact is missing it says which ([`Need`]); the caller loads it, puts it
//! into the view and asks again. So a job with one plain input costs two small lookups, and the
//! builds of `passed` jobs are only read as far back as the search goes.
//!
//! The rules, in the order they are tried for each input:
//! 1. pinned without `passed`: the version that holds the pin's fields, enabled or not;
//! 2. `version: every` without `passed`: the oldest enabled version after the newest one this job
//!    has used; the newest enabled one before its first build;
//! 3. latest without `passed`: the newest enabled version;
//! 4. with `passed`: inputs that share a passed job are solved together (see [`group`]).

mod group;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jb_model::{BuildId, JobId, ResourceId, Version, VersionId};

pub use view::{
    BuildList, BuildPage, BuildVersion, EveryFacts, Need, Needs, PAGE_SIZE, PassedBuild, Position,
    View,
};

/// How many builds one search looks at before it gives up with [`Failure::SearchTooLong`].
pub const MAX_TRIES: usize = 1_000_000;

/// One input of the job, with names replaced by rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    pub resource: ResourceId,
    pub passed: BTreeSet<JobId>,
    pub every: bool,
    /// The step's own version, else the resource's pin; may name only some fields.
    pub pinned: Option<Version>,
}

/// Why an input has no version. The text is what `fly` and the web page show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    LatestNotFound,
    EveryNotFound,
    PinnedNotFound(Version),
    NoSatisfiableBuilds,
    SearchTooLong,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatestNotFound => f.write_str("latest version of resource not found"),
            Self::EveryNotFound => f.write_str("version of resource not found"),
            Self::PinnedNotFound(version) => {
                f.write_str("pinned version")?;
                for (field, value) in version {
                    write!(f, " {field}:{value}")?;
                }
                f.write_str(" not found")
            }
            Self::NoSatisfiableBuilds => {
                f.write_str("no satisfiable builds from passed jobs found for set of inputs")
            }
            Self::SearchTooLong => write!(
                f,
                "no satisfiable builds from passed jobs found among the first {MAX_TRIES} combinations"
            ),
        }
    }
}

/// The version an input takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub resource: ResourceId,
    pub version: VersionId,
    /// No build of this job has had this version under this input's name.
    pub first_occurrence: bool,
    /// The builds of passed jobs that vouch for it, in the order they were found.
    pub passed_builds: Vec<BuildId>,
}

/// The outcome for every input of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    pub inputs: BTreeMap<String, Result<Chosen, Failure>>,
    /// A `version: every` input may have yet another version waiting: resolve again after this build.
    pub has_next: bool,
}

impl Resolution {
    /// True when a build could start with these versions.
    pub fn determined(&self) -> bool {
        self.inputs.values().all(Result::is_ok)
    }
}

/// What a solver found for one input, before it is known whether the job used it already.
#[derive(Clone, Debug)]
struct Pick {
    version: VersionId,
    passed_builds: Vec<BuildId>,
    has_next: bool,
}

impl Pick {
    fn plain(version: VersionId) -> Self {
        Self { version, passed_builds: Vec::new(), has_next: false }
    }
}

/// Chooses a version for each input, or says what must be loaded first.
///
/// Inputs are tried in the order given, which decides between equally good combinations of passed
/// builds; callers keep it stable (by name).
pub fn resolve(inputs: &[Input], view: &View) -> Result<Resolution, Needs> {
    let mut needs = Needs::default();
    let mut resolution = Resolution::default();
    for group in group_inputs(inputs) {
        let picks = match group.as_slice() {
            [input] if input.passed.is_empty() => {
                single(input, view).map(|pick| pick.map(|p| vec![p]))
            }
            many => group::solve(many, view),
        };
        let picks = match picks {
            Ok(picks) => picks,
            Err(need) => {
                needs.insert(need);
                continue;
            }
        };
        match picks {
            Ok(picks) => {
                for (input, pick) in group.iter().zip(picks) {
                    resolution.has_next |= pick.has_next;
                    record(input, pick, view, &mut resolution, &mut needs);
                }
            }
            Err(failure) => {
                for input in group {
                    resolution.inputs.insert(input.name.clone(), Err(failure.clone()));
                }
            }
        }
    }
    if needs.is_empty() { Ok(resolution) } else { Err(needs) }
}

fn record(input: &Input, pick: Pick, view: &View, resolution: &mut Resolution, needs: &mut Needs) {
    match view.used(&input.name, input.resource, pick.version) {
        Ok(used) => {
            let chosen = Chosen {
                resource: input.resource,
                version: pick.version,
                first_occurrence: !used,
                passed_builds: pick.passed_builds,
            };
            resolution.inputs.insert(input.name.clone(), Ok(chosen));
        }
        Err(need) => {
            needs.insert(need);
        }
    }
}

/// An input without `passed`.
fn single(input: &Input, view: &View) -> Result<Result<Pick, Failure>, Need> {
    if let Some(pin) = &input.pinned {
        let found = view.matching(input.resource, pin)?;
        return Ok(found.map(Pick::plain).ok_or_else(|| Failure::PinnedNotFound(pin.clone())));
    }
    if input.every {
        return Ok(every(*view.every(input.resource)?).ok_or(Failure::EveryNotFound));
    }
    Ok(view.latest(input.resource)?.map(Pick::plain).ok_or(Failure::LatestNotFound))
}

fn every(facts: EveryFacts) -> Option<Pick> {
    match facts {
        EveryFacts::NeverUsed { latest } => latest.map(Pick::plain),
        EveryFacts::Used { next: Some(next), more_after_next, .. } => {
            Some(Pick { version: next, passed_builds: Vec::new(), has_next: more_after_next })
        }
        EveryFacts::Used { next: None, newest_until, .. } => newest_until.map(Pick::plain),
    }
}

/// Inputs without `passed` alone; the others joined wherever they share a passed job, directly or
/// through a third input.
fn group_inputs(inputs: &[Input]) -> Vec<Vec<&Input>> {
    let mut groups: Vec<(BTreeSet<JobId>, Vec<usize>)> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let (joined, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(jobs, _)| !jobs.is_disjoint(&input.passed));
        let mut jobs = input.passed.clone();
        let mut members = vec![index];
        for (other_jobs, other_members) in joined {
            jobs.extend(other_jobs);
            members.extend(other_members);
        }
        members.sort_unstable();
        groups = apart;
        groups.push((jobs, members));
    }
    groups.sort_by_key(|(_, members)| members.first().copied());
    groups
        .into_iter()
        .map(|(_, members)| members.into_iter().filter_map(|index| inputs.get(index)).collect())
        .collect()
}

#[cfg(test)]
mod tests;
