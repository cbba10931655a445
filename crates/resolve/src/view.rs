//! The facts a resolution rests on, as far as they are loaded.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::{BuildId, JobId, ResourceId, Version, VersionId};

/// How many builds a caller loads for one [`Need::Builds`]; fewer means the list ends there.
pub const PAGE_SIZE: usize = 100;

/// Facts still missing.
pub type Needs = BTreeSet<Need>;

/// A place in a job's history. A rerun sorts right after the build it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The build itself, or the one it repeats.
    pub original: BuildId,
    pub build: BuildId,
}

impl Position {
    pub const fn new(build: BuildId, rerun_of: Option<BuildId>) -> Self {
        let original = match rerun_of {
            Some(original) => original,
            None => build,
        };
        Self { original, build }
    }

    pub fn is_rerun(self) -> bool {
        self.original != self.build
    }

    /// Whether a build at `other` counts as unused after this one was used. Reruns of an original
    /// repeat what was used; after a rerun only later reruns are new.
    pub fn is_followed_by(self, other: Self) -> bool {
        if self.is_rerun() { other > self } else { other.original > self.original }
    }
}

/// A list of successful builds of a passed job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildList {
    /// All of them, newest first; with `holding`, those that used or made that version.
    Newest { job: JobId, holding: Option<(ResourceId, VersionId)> },
    /// Those for which [`Position::is_followed_by`] holds, oldest first.
    Unused { job: JobId, since: Position },
    /// That build and the ones before it, newest first; `holding` as above.
    Until { job: JobId, last: Position, holding: Option<(ResourceId, VersionId)> },
}

/// A fact to load and put into the [`View`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The newest enabled version of a resource: [`View::put_latest`].
    Latest(ResourceId),
    /// A version of the resource that has all these fields: [`View::put_matching`].
    Matching(ResourceId, Version),
    /// Where `version: every` stands for this job: [`View::put_every`].
    Every(ResourceId),
    /// The passed builds recorded for the build of this job that used the newest version of this
    /// resource: [`View::put_pipes`].
    Pipes(ResourceId),
    /// The next page of a list, after that position (from its start without): [`View::put_builds`].
    Builds { list: BuildList, after: Option<Position> },
    /// Whether some build of this job had that version as the input of that name: [`View::put_used`].
    Used { input: String, resource: ResourceId, version: VersionId },
}

/// Where `version: every` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EveryFacts {
    /// No build of this job has used a version of the resource that its present scope knows.
    NeverUsed { latest: Option<VersionId> },
    /// Relative to the newest version, by check order, that this job has used.
    Used {
        /// The oldest enabled one after it.
        next: Option<VersionId>,
        /// There is an enabled one after `next`.
        more_after_next: bool,
        /// The newest enabled one that is not after it.
        newest_until: Option<VersionId>,
    },
}

/// A successful build of a passed job with what it can vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedBuild {
    pub position: Position,
    /// By resource; of one resource, what the build made comes before what it used.
    pub versions: Vec<BuildVersion>,
}

/// A version that a build used or made and that the resource's present scope still knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildVersion {
    pub resource: ResourceId,
    pub version: VersionId,
    pub disabled: bool,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildPage {
    pub builds: Vec<PassedBuild>,
    /// There is nothing after this page.
    pub is_last: bool,
}

/// Everything loaded so far for one job.
#[derive(Clone, Debug, Default)]
pub struct View {
    latest: BTreeMap<ResourceId, Option<VersionId>>,
    matching: BTreeMap<(ResourceId, Version), Option<VersionId>>,
    every: BTreeMap<ResourceId, EveryFacts>,
    pipes: BTreeMap<ResourceId, Option<BTreeMap<JobId, Position>>>,
    builds: BTreeMap<BuildList, BuildPage>,
    used: BTreeMap<(String, ResourceId, VersionId), bool>,
}

impl View {
    pub fn put_latest(&mut self, resource: ResourceId, version: Option<VersionId>) {
        self.latest.insert(resource, version);
    }

    pub fn put_matching(&mut self, resource: ResourceId, pin: Version, version: Option<VersionId>) {
        self.matching.insert((resource, pin), version);
    }

    pub fn put_every(&mut self, resource: ResourceId, facts: EveryFacts) {
        self.every.insert(resource, facts);
    }

    /// `None` when no build of this job has used a version of the resource.
    pub fn put_pipes(&mut self, resource: ResourceId, pipes: Option<BTreeMap<JobId, Position>>) {
        self.pipes.insert(resource, pipes);
    }

    /// Appends the next page of a list.
    pub fn put_builds(&mut self, list: BuildList, page: BuildPage) {
        let known = self.builds.entry(list).or_default();
        known.builds.extend(page.builds);
        known.is_last = page.is_last;
    }

    pub fn put_used(
        &mut self,
        input: String,
        resource: ResourceId,
        version: VersionId,
        used: bool,
    ) {
        self.used.insert((input, resource, version), used);
    }

    pub(crate) fn latest(&self, resource: ResourceId) -> Result<Option<VersionId>, Need> {
        self.latest.get(&resource).copied().ok_or(Need::Latest(resource))
    }

    pub(crate) fn matching(
        &self,
        resource: ResourceId,
        pin: &Version,
    ) -> Result<Option<VersionId>, Need> {
        let key = (resource, pin.clone());
        match self.matching.get(&key) {
            Some(found) => Ok(*found),
            None => Err(Need::Matching(key.0, key.1)),
        }
    }

    pub(crate) fn every(&self, resource: ResourceId) -> Result<&EveryFacts, Need> {
        self.every.get(&resource).ok_or(Need::Every(resource))
    }

    pub(crate) fn pipes(
        &self,
        resource: ResourceId,
    ) -> Result<Option<&BTreeMap<JobId, Position>>, Need> {
        self.pipes.get(&resource).map(Option::as_ref).ok_or(Need::Pipes(resource))
    }

    /// The build at an index of a list, `None` after its end.
    pub(crate) fn build(
        &self,
        list: &BuildList,
        index: usize,
    ) -> Result<Option<&PassedBuild>, Need> {
        let page = self.builds.get(list);
        if let Some(build) = page.and_then(|page| page.builds.get(index)) {
            return Ok(Some(build));
        }
        if page.is_some_and(|page| page.is_last) {
            return Ok(None);
        }
        let after = page.and_then(|page| page.builds.last()).map(|build| build.position);
        Err(Need::Builds { list: list.clone(), after })
    }

    pub(crate) fn used(
        &self,
        input: &str,
        resource: ResourceId,
        version: VersionId,
    ) -> Result<bool, Need> {
        let key = (input.to_owned(), resource, version);
        match self.used.get(&key) {
            Some(used) => Ok(*used),
            None => Err(Need::Used { input: key.0, resource: key.1, version: key.2 }),
        }
    }
}
