//! A whole history in memory that answers every need by looking at all of it.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::{BuildId, JobId, ResourceId, Version, VersionId};

use crate::{BuildList, BuildPage, BuildVersion, EveryFacts, Need, PassedBuild, Position, View};

/// The job being resolved.
pub(super) const ME: JobId = JobId(1000);

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) text: String,
    pub(super) id: VersionId,
    pub(super) fields: Version,
    pub(super) disabled: bool,
}

impl Row {
    pub(super) fn enabled(text: &str) -> Self {
        Self { text: text.to_owned(), id: id(text), fields: fields(text), disabled: false }
    }
}

/// The row of a version, made from its text so that it is the same everywhere.
pub(super) fn id(text: &str) -> VersionId {
    let hash =
        text.bytes().fold(7_i64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    VersionId(hash)
}

/// `v1` is short for `ver=v1`.
pub(super) fn fields(text: &str) -> Version {
    text.split(',')
        .map(|field| field.split_once('=').unwrap_or(("ver", field)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) position: Position,
    pub(super) job: JobId,
    pub(super) succeeded: bool,
    pub(super) inputs: Vec<(String, ResourceId, VersionId)>,
    pub(super) outputs: Vec<(ResourceId, VersionId)>,
    pub(super) pipes: Vec<BuildId>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Database {
    /// By check order, oldest first.
    pub(super) versions: BTreeMap<ResourceId, Vec<Row>>,
    pub(super) builds: Vec<Build>,
}

impl Database {
    pub(super) fn add_build(&mut self, build: i64, job: JobId, outputs: &[(ResourceId, &str)]) {
        self.builds.push(Build {
            position: Position::new(BuildId(build), None),
            job,
            succeeded: true,
            inputs: Vec::new(),
            outputs: outputs.iter().map(|(r, v)| (*r, id(v))).collect(),
            pipes: Vec::new(),
        });
    }

    fn rows(&self, resource: ResourceId) -> &[Row] {
        self.versions.get(&resource).map_or(&[], Vec::as_slice)
    }

    fn newest_enabled(rows: &[Row]) -> Option<VersionId> {
        rows.iter().rev().find(|row| !row.disabled).map(|row| row.id)
    }

    /// Versions that a build vouches for: what it made, then what it used, by resource.
    pub(super) fn vouched(&self, build: &Build) -> Vec<BuildVersion> {
        let mut seen = BTreeSet::new();
        let mut versions: Vec<_> = build
            .outputs
            .iter()
            .cloned()
            .chain(build.inputs.iter().map(|(_, r, v)| (*r, *v)))
            .filter(|held| seen.insert(*held))
            .filter_map(|(resource, version)| {
                let row = self.rows(resource).iter().find(|row| row.id == version)?;
                Some(BuildVersion { resource, version, disabled: row.disabled })
            })
            .collect();
        versions.sort_by_key(|held| held.resource);
        versions
    }

    fn list(&self, list: &BuildList) -> Vec<PassedBuild> {
        let (job, holding, newest_first) = match list {
            BuildList::Newest { job, holding } | BuildList::Until { job, holding, .. } => {
                (*job, holding.as_ref(), true)
            }
            BuildList::Unused { job, .. } => (*job, None, false),
        };
        let mut builds: Vec<_> = self
            .builds
            .iter()
            .filter(|build| build.job == job && build.succeeded)
            .filter(|build| match list {
                BuildList::Newest { .. } => true,
                BuildList::Unused { since, .. } => since.is_followed_by(build.position),
                BuildList::Until { last, .. } => build.position <= *last,
            })
            .map(|build| PassedBuild { position: build.position, versions: self.vouched(build) })
            .filter(|build| {
                holding.is_none_or(|(resource, version)| {
                    build.versions.iter().any(|v| v.resource == *resource && v.version == *version)
                })
            })
            .collect();
        builds.sort_by_key(|build| build.position);
        if newest_first {
            builds.reverse();
        }
        builds
    }

    fn every(&self, resource: ResourceId) -> EveryFacts {
        let rows = self.rows(resource);
        let last_used = rows.iter().rposition(|row| {
            self.builds
                .iter()
                .filter(|build| build.job == ME)
                .any(|build| build.inputs.iter().any(|(_, r, v)| *r == resource && *v == row.id))
        });
        let Some(last_used) = last_used else {
            return EveryFacts::NeverUsed { latest: Self::newest_enabled(rows) };
        };
        let (until, after) = rows.split_at(last_used + 1);
        let mut after = after.iter().filter(|row| !row.disabled).map(|row| row.id);
        EveryFacts::Used {
            next: after.next(),
            more_after_next: after.next().is_some(),
            newest_until: Self::newest_enabled(until),
        }
    }

    fn pipes(&self, resource: ResourceId) -> Option<BTreeMap<JobId, Position>> {
        let build = self.rows(resource).iter().rev().find_map(|row| {
            self.builds
                .iter()
                .filter(|build| build.job == ME)
                .rfind(|build| build.inputs.iter().any(|(_, r, v)| *r == resource && *v == row.id))
        })?;
        let from = self.builds.iter().filter(|other| build.pipes.contains(&other.position.build));
        Some(from.map(|other| (other.job, other.position)).collect())
    }

    pub(super) fn load(&self, need: &Need, view: &mut View, page_size: usize) {
        match need {
            Need::Latest(resource) => {
                view.put_latest(*resource, Self::newest_enabled(self.rows(*resource)));
            }
            Need::Matching(resource, pin) => {
                let found = self.rows(*resource).iter().rev().find(|row| {
                    pin.iter().all(|(field, value)| row.fields.get(field) == Some(value))
                });
                view.put_matching(*resource, pin.clone(), found.map(|row| row.id));
            }
            Need::Every(resource) => view.put_every(*resource, self.every(*resource)),
            Need::Pipes(resource) => view.put_pipes(*resource, self.pipes(*resource)),
            Need::Builds { list, after } => {
                let all = self.list(list);
                let start = after.map_or(0, |after| {
                    1 + all
                        .iter()
                        .position(|build| build.position == after)
                        .expect("a build of the list")
                });
                let builds: Vec<_> = all.iter().skip(start).take(page_size).cloned().collect();
                let is_last = start + builds.len() == all.len();
                view.put_builds(list.clone(), BuildPage { builds, is_last });
            }
            Need::Used { input, resource, version } => {
                let used = self.builds.iter().filter(|build| build.job == ME).any(|build| {
                    build.inputs.iter().any(|(n, r, v)| n == input && r == resource && v == version)
                });
                view.put_used(input.clone(), *resource, *version, used);
            }
        }
    }
}
