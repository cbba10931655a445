//! Inputs with `passed`, solved together.
//!
//! Each passed job must vouch, by one successful build, for every input that names it. The search
//! goes input by input and job by job (in the order of their ids), trying the job's builds newest
//! first. A build proposes versions for all inputs of the group that passed through its job; a
//! version proposed before must be met again. When a proposal leads nowhere it is taken back.
//!
//! `version: every` continues from the builds that the last build of this job was made from: the
//! unused ones oldest first, then backwards from the last used.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::{BuildId, JobId, ResourceId, VersionId};

use crate::view::{BuildList, BuildVersion, Need, PassedBuild, Position, View};
use crate::{Failure, Input, MAX_TRIES, Pick};

/// A version proposed for an input, and who vouches for it.
#[derive(Clone, Debug)]
struct Candidate {
    version: VersionId,
    vouched_by: BTreeSet<JobId>,
    builds: Vec<BuildId>,
    has_next: bool,
}

/// Why a search stopped before it had an answer.
enum Stop {
    Need(Need),
    TooLong,
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

struct Search<'a> {
    inputs: &'a [&'a Input],
    view: &'a View,
    pins: Vec<Option<VersionId>>,
    candidates: Vec<Option<Candidate>>,
    /// The versions of the last dead end: the same set is not tried again.
    doomed: Vec<Option<VersionId>>,
    /// Where `every` inputs of the group stand, once one of them was used by this job.
    last_used: Option<&'a BTreeMap<JobId, Position>>,
    n_tries: usize,
}

/// Picks for each input, in order, or why there are none.
pub(crate) fn solve(inputs: &[&Input], view: &View) -> Result<Result<Vec<Pick>, Failure>, Need> {
    let mut pins = Vec::with_capacity(inputs.len());
    for input in inputs {
        let Some(pin) = &input.pinned else {
            pins.push(None);
            continue;
        };
        match view.matching(input.resource, pin)? {
            Some(version) => pins.push(Some(version)),
            None => return Ok(Err(Failure::PinnedNotFound(pin.clone()))),
        }
    }
    let mut search = Search {
        inputs,
        view,
        pins,
        candidates: vec![None; inputs.len()],
        doomed: vec![None; inputs.len()],
        last_used: None,
        n_tries: 0,
    };
    match search.satisfy_all() {
        Ok(true) => Ok(search.picks().ok_or(Failure::NoSatisfiableBuilds)),
        Ok(false) => Ok(Err(Failure::NoSatisfiableBuilds)),
        Err(Stop::TooLong) => Ok(Err(Failure::SearchTooLong)),
        Err(Stop::Need(need)) => Err(need),
    }
}

impl<'a> Search<'a> {
    fn picks(self) -> Option<Vec<Pick>> {
        self.candidates
            .into_iter()
            .map(|candidate| {
                candidate.map(|c| Pick {
                    version: c.version,
                    passed_builds: c.builds,
                    has_next: c.has_next,
                })
            })
            .collect()
    }

    fn satisfy_all(&mut self) -> Result<bool, Stop> {
        for index in 0..self.inputs.len() {
            if !self.satisfy(index)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has every passed job of one input vouch for it, and then, by recursion, for all others.
    fn satisfy(&mut self, index: usize) -> Result<bool, Stop> {
        let input = self.inputs[index];
        for &job in &input.passed {
            let candidate = self.candidates[index].as_ref();
            if candidate.is_some_and(|candidate| candidate.vouched_by.contains(&job)) {
                continue;
            }
            let Some(lists) = self.lists(index, job)? else { continue };
            // A build that fits continues with all that is left, so this answer is the whole one.
            return self.try_builds(index, job, &lists);
        }
        Ok(true)
    }

    /// The builds of `job` to try, in order, each list with whether its builds are unused ones.
    /// `None` leaves the choice of a version to the input's other jobs.
    fn lists(&mut self, index: usize, job: JobId) -> Result<Option<Vec<(BuildList, bool)>>, Stop> {
        let input = self.inputs[index];
        let has_candidate = self.candidates[index].is_some();
        let holding = if has_candidate { self.constraint(job) } else { None };
        if input.every {
            if self.last_used.is_none() {
                self.last_used = self.view.pipes(input.resource)?;
            }
            if let Some(last_used) = self.last_used {
                if let Some(&since) = last_used.get(&job) {
                    return Ok(Some(vec![
                        (BuildList::Unused { job, since }, true),
                        (BuildList::Until { job, last: since, holding }, false),
                    ]));
                }
                // This job is new among the passed ones: go on from where the others stand
                // instead of starting over with the latest; it vouches later.
                if !has_candidate && input.passed.iter().any(|other| last_used.contains_key(other))
                {
                    return Ok(None);
                }
            }
        }
        Ok(Some(vec![(BuildList::Newest { job, holding }, false)]))
    }

    /// One version that a build of `job` must hold to fit what is proposed already.
    fn constraint(&self, job: JobId) -> Option<(ResourceId, VersionId)> {
        self.inputs.iter().zip(&self.candidates).find_map(|(input, candidate)| {
            let candidate = candidate.as_ref().filter(|_| input.passed.contains(&job))?;
            Some((input.resource, candidate.version))
        })
    }

    /// Whether a build holds every version proposed so far for inputs that passed `job`.
    fn holds_all(&self, job: JobId, build: &PassedBuild) -> bool {
        self.inputs.iter().zip(&self.candidates).all(|(input, candidate)| {
            let Some(candidate) = candidate.as_ref().filter(|_| input.passed.contains(&job)) else {
                return true;
            };
            build
                .versions
                .iter()
                .any(|held| held.resource == input.resource && held.version == candidate.version)
        })
    }

    fn try_builds(
        &mut self,
        index: usize,
        job: JobId,
        lists: &[(BuildList, bool)],
    ) -> Result<bool, Stop> {
        let constrained = self.candidates[index].is_some();
        for (list, unused) in lists {
            let mut place = 0;
            while let Some(build) = self.view.build(list, place)? {
                place += 1;
                self.n_tries += 1;
                if self.n_tries > MAX_TRIES {
                    return Err(Stop::TooLong);
                }
                if constrained && !unused && !self.holds_all(job, build) {
                    continue;
                }
                if self.try_build(index, job, build, *unused)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Takes a build's versions as candidates, and keeps them if all else can be satisfied.
    fn try_build(
        &mut self,
        index: usize,
        job: JobId,
        build: &PassedBuild,
        unused: bool,
    ) -> Result<bool, Stop> {
        let (restore, matches) = self.propose(job, build, unused);
        let vouched = self.candidates[index]
            .as_ref()
            .is_some_and(|candidate| candidate.vouched_by.contains(&job));
        if vouched && matches && !self.is_doomed() {
            if self.satisfy_all()? {
                return Ok(true);
            }
            self.doomed = self.candidates.iter().map(|c| c.as_ref().map(|c| c.version)).collect();
        }
        for (changed, before) in restore {
            self.candidates[changed] = before;
        }
        Ok(false)
    }

    /// Updates candidates from a build; returns what to put back, and whether nothing contradicts.
    fn propose(
        &mut self,
        job: JobId,
        build: &PassedBuild,
        unused: bool,
    ) -> (BTreeMap<usize, Option<Candidate>>, bool) {
        let mut restore = BTreeMap::new();
        for held in &build.versions {
            for index in 0..self.inputs.len() {
                let input = self.inputs[index];
                if restore.contains_key(&index)
                    || input.resource != held.resource
                    || !input.passed.contains(&job)
                {
                    continue;
                }
                let candidate = self.candidates[index].as_ref();
                if candidate.is_some_and(|candidate| candidate.version != held.version) {
                    return (restore, false);
                }
                if !self.is_allowed(index, held) {
                    continue;
                }
                let vouched = vouch(candidate, held, job, build.position.build, unused);
                restore.insert(index, self.candidates[index].replace(vouched));
            }
        }
        (restore, true)
    }

    fn is_allowed(&self, index: usize, held: &BuildVersion) -> bool {
        let pin = self.pins[index].as_ref();
        !held.disabled && pin.is_none_or(|pin| *pin == held.version)
    }

    fn is_doomed(&self) -> bool {
        self.candidates
            .iter()
            .map(|candidate| candidate.as_ref().map(|candidate| &candidate.version))
            .eq(self.doomed.iter().map(Option::as_ref))
    }
}

fn vouch(
    before: Option<&Candidate>,
    held: &BuildVersion,
    job: JobId,
    build: BuildId,
    unused: bool,
) -> Candidate {
    let mut candidate = before.cloned().unwrap_or_else(|| Candidate {
        version: held.version,
        vouched_by: BTreeSet::new(),
        builds: Vec::new(),
        has_next: false,
    });
    candidate.vouched_by.insert(job);
    candidate.builds.push(build);
    candidate.has_next |= unused;
    candidate
}
