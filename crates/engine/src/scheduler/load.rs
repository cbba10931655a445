//! Loads what the resolution of inputs asks for.

use std::collections::BTreeMap;

use jb_model::JobId;
use jb_resolve::{
    BuildList, BuildPage, BuildVersion, EveryFacts, Input, Need, PAGE_SIZE, PassedBuild, Position,
    Resolution, View,
};
use jb_store::sched::{Vouching, VouchingBuild};
use jb_store::{Result, Store};

/// Resolves a job's inputs, loading facts until there is an answer.
pub(crate) async fn resolve(store: &Store, job: JobId, inputs: &[Input]) -> Result<Resolution> {
    let mut view = View::default();
    loop {
        match jb_resolve::resolve(inputs, &view) {
            Ok(resolution) => return Ok(resolution),
            Err(needs) => {
                for need in needs {
                    load(store, job, need, &mut view).await?;
                }
            }
        }
    }
}

async fn load(store: &Store, job: JobId, need: Need, view: &mut View) -> Result<()> {
    match need {
        Need::Latest(resource) => {
            let found = store.latest_enabled(resource).await?;
            view.put_latest(resource, found.map(|found| found.id));
        }
        Need::Matching(resource, pin) => {
            let found = store.pinned_version(resource, &pin).await?;
            view.put_matching(resource, pin, found.map(|found| found.id));
        }
        Need::Every(resource) => {
            let facts = match store.newest_used_by_job(job, resource).await? {
                None => EveryFacts::NeverUsed {
                    latest: store.latest_enabled(resource).await?.map(|found| found.id),
                },
                Some((used, _)) => every_facts(store, resource, used.check_order).await?,
            };
            view.put_every(resource, facts);
        }
        Need::Pipes(resource) => {
            let pipes = match store.newest_used_by_job(job, resource).await? {
                None => None,
                Some((_, build)) => Some(pipes(store, build).await?),
            };
            view.put_pipes(resource, pipes);
        }
        Need::Builds { list, after } => {
            let page = builds(store, &list, after).await?;
            view.put_builds(list, page);
        }
        Need::Used { input, resource, version } => {
            let first = store.is_first_occurrence(job, &input, resource, version).await?;
            view.put_used(input, resource, version, !first);
        }
    }
    Ok(())
}

/// Where `version: every` stands after the version at `used`. Disabled versions are few, so small
/// pages find the next enabled one.
async fn every_facts(
    store: &Store,
    resource: jb_model::ResourceId,
    used: i64,
) -> Result<EveryFacts> {
    const FEW: u32 = 32;
    let mut enabled_after = Vec::new();
    let mut after = used;
    while enabled_after.len() < 2 {
        let page = store.versions_after(resource, after, FEW).await?;
        let Some(last) = page.last() else { break };
        after = last.check_order;
        enabled_after
            .extend(page.iter().filter(|version| version.enabled).map(|version| version.id));
    }
    let mut newest_until = None;
    let mut before = used.checked_add(1);
    while enabled_after.is_empty() && newest_until.is_none() {
        let page = store.versions_before(resource, before, FEW).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.check_order);
        newest_until = page.iter().find(|version| version.enabled).map(|version| version.id);
    }
    Ok(EveryFacts::Used {
        next: enabled_after.first().copied(),
        more_after_next: enabled_after.len() > 1,
        newest_until,
    })
}

/// The builds that vouched for a build's inputs, the latest of each job.
async fn pipes(store: &Store, build: jb_model::BuildId) -> Result<BTreeMap<JobId, Position>> {
    let mut latest: BTreeMap<JobId, Position> = BTreeMap::new();
    for pipe in store.pipes_of(build).await? {
        let position = Position::new(pipe.build, pipe.rerun_of);
        let known = latest.entry(pipe.job).or_insert(position);
        *known = position.max(*known);
    }
    Ok(latest)
}

async fn builds(store: &Store, list: &BuildList, after: Option<Position>) -> Result<BuildPage> {
    let limit = u32::try_from(PAGE_SIZE).unwrap_or(u32::MAX);
    let place = |position: Position| (position.original, position.build);
    let (job, oldest_first, beyond, holding) = match list {
        BuildList::Newest { job, holding } => (*job, false, after.map(place), *holding),
        BuildList::Unused { job, since } => {
            (*job, true, Some(place(after.unwrap_or(*since))), None)
        }
        BuildList::Until { job, last, holding } => {
            // Inclusive of `last`: whatever lies before the place right after it.
            let start = (last.original, jb_model::BuildId(last.build.0.saturating_add(1)));
            (*job, false, Some(after.map_or(start, place)), *holding)
        }
    };
    let which = Vouching { job, oldest_first, beyond, holding, limit };
    let found = store.vouching_builds(&which).await?;
    let is_last = found.len() < PAGE_SIZE;
    let mut builds: Vec<PassedBuild> = found.into_iter().map(passed_build).collect();
    if let BuildList::Unused { since, .. } = list {
        // Reruns of what was used come next to it; a page of nothing else is as good as an end only
        // when no page follows, so at least its place must be kept.
        let last = builds.last().cloned();
        builds.retain(|build| since.is_followed_by(build.position));
        if let (true, false, Some(last)) = (builds.is_empty(), is_last, last) {
            return Box::pin(self::builds(store, list, Some(last.position))).await;
        }
    }
    Ok(BuildPage { builds, is_last })
}

fn passed_build(build: VouchingBuild) -> PassedBuild {
    let versions = build.versions.iter().map(|held| BuildVersion {
        resource: held.resource,
        version: held.version,
        disabled: !held.enabled,
    });
    PassedBuild {
        position: Position::new(build.build, build.rerun_of),
        versions: versions.collect(),
    }
}
