//! One pass over one job.

use std::collections::BTreeMap;

use jb_model::{BuildId, BuildStatus, Timestamp, Version, VersionId};
use jb_resolve::Resolution;
use jb_store::{
    BuildInput, BuildRecord, JobRecord, NextBuild, NextInput, NextInputChoice, Result, Store,
};

use super::Scheduler;
use super::facts::JobFacts;
use super::load;
use super::readiness::{Origin, awaited_checks};

/// What became of one pending build.
enum Attempt {
    /// It started or ended; the next one may be tried.
    Settled,
    /// Its inputs are not there; others may have theirs.
    Skipped,
    /// It waits, and so do those after it.
    Waits,
}

struct Pass<'a> {
    scheduler: &'a Scheduler,
    store: &'a Store,
    facts: JobFacts,
    now: Timestamp,
    /// As of the latest resolution in this pass.
    resolution: Resolution,
    /// A build was started since then, which uses its versions up.
    is_stale: bool,
}

pub(super) async fn run(scheduler: &Scheduler, record: JobRecord, now: Timestamp) -> Result<()> {
    let (store, job) = (&scheduler.store, record.id);
    end_aborted(store, &record, now).await?;
    if record.paused || record.pipeline_paused || record.pipeline_archived {
        return Ok(());
    }
    let Some(facts) = JobFacts::load(scheduler, record).await? else { return Ok(()) };
    let resolution = Resolution::default();
    let mut pass = Pass { scheduler, store, facts, now, resolution, is_stale: true };
    pass.resolve().await?;
    pass.ensure_pending_build().await?;
    let started = pass.start_pending_builds().await?;
    if started && pass.resolution.has_next {
        store.request_schedule(job, now).await?;
    }
    pass.wake_group().await
}

/// How a build came to be.
pub(super) fn origin(build: &BuildRecord) -> Origin {
    if build.rerun_of.is_some() {
        Origin::Rerun
    } else if build.manual {
        Origin::Manual
    } else {
        Origin::Trigger
    }
}

/// Ends pending builds that someone aborted, or all of an archived pipeline.
async fn end_aborted(store: &Store, job: &JobRecord, now: Timestamp) -> Result<()> {
    for NextBuild { build, .. } in store.pending_builds(job.id).await? {
        if build.aborted || job.pipeline_archived {
            store.finish_build(build.id, BuildStatus::Aborted, None, now).await?;
        }
    }
    Ok(())
}

impl Pass<'_> {
    /// Chooses versions and saves them as the next build's, unless they are that already.
    async fn resolve(&mut self) -> Result<()> {
        let job = self.facts.job.id;
        self.resolution = load::resolve(self.store, job, &self.facts.inputs()).await?;
        self.is_stale = false;
        let inputs = next_inputs(&self.resolution);
        let determined = self.resolution.determined();
        let has_new = determined
            && self.resolution.inputs.values().flatten().any(|chosen| chosen.first_occurrence);
        let mut pipes: Vec<BuildId> = self
            .resolution
            .inputs
            .values()
            .flatten()
            .flat_map(|chosen| chosen.passed_builds.iter().copied())
            .collect();
        pipes.sort_unstable();
        pipes.dedup();
        let (saved, was_determined) = self.store.next_inputs(job).await?;
        let mut saved_pipes = self.store.next_pipes(job).await?;
        saved_pipes.sort_unstable();
        let is_saved = saved == inputs
            && saved_pipes == pipes
            && was_determined == determined
            && self.facts.job.has_new_inputs == has_new;
        if !is_saved {
            self.store.save_next_inputs(job, &inputs, &pipes, determined, has_new).await?;
            self.facts.job.has_new_inputs = has_new;
        }
        Ok(())
    }

    /// Has a build wait for new versions, unless one waits already, whoever asked for it: it will
    /// take them.
    async fn ensure_pending_build(&self) -> Result<()> {
        if !self.resolution.determined() {
            return Ok(());
        }
        let is_new = |name: &str| matches!(self.resolution.inputs.get(name), Some(Ok(chosen)) if chosen.first_occurrence);
        let triggers = self.facts.gets.iter().any(|get| get.trigger && is_new(&get.input.name));
        if triggers && self.store.pending_builds(self.facts.job.id).await?.is_empty() {
            self.store.ensure_pending_build(self.facts.job.id, self.now).await?;
        }
        Ok(())
    }

    /// Tries pending builds in their order; says whether any was started.
    async fn start_pending_builds(&mut self) -> Result<bool> {
        let mut started = false;
        for NextBuild { build, .. } in self.store.pending_builds(self.facts.job.id).await? {
            match self.try_start(&build).await? {
                Attempt::Settled => started = true,
                Attempt::Skipped => {}
                Attempt::Waits => break,
            }
        }
        Ok(started)
    }

    async fn try_start(&mut self, build: &BuildRecord) -> Result<Attempt> {
        if build.aborted {
            self.store.finish_build(build.id, BuildStatus::Aborted, None, self.now).await?;
            return Ok(Attempt::Settled);
        }
        // Checks come before the limits: a job whose inputs are not determined has no turn in its serial
        // groups, and a resource that nobody checks by the clock would never determine them.
        let origin = origin(build);
        let awaited = awaited_checks(origin, build.created_at, &self.facts.checked_inputs());
        if !awaited.is_empty() {
            for resource in awaited {
                self.scheduler
                    .checks
                    .check_for_build(resource, origin == Origin::Manual, self.now)
                    .await?;
            }
            return Ok(Attempt::Waits);
        }
        if !self.store.may_start(build.id, self.facts.job.max_in_flight).await? {
            return Ok(Attempt::Waits);
        }
        let adopted = match &build.rerun_of {
            Some(original) => self.rerun_inputs(original.id).await?,
            None => {
                if self.is_stale {
                    self.resolve().await?;
                }
                self.chosen_inputs().await?
            }
        };
        let Some((inputs, pipes)) = adopted else {
            return Ok(if origin == Origin::Rerun { Attempt::Skipped } else { Attempt::Waits });
        };
        self.start(build, origin, &inputs, &pipes).await
    }

    async fn start(
        &mut self,
        build: &BuildRecord,
        origin: Origin,
        inputs: &[BuildInput],
        pipes: &[BuildId],
    ) -> Result<Attempt> {
        let versions: BTreeMap<String, Version> =
            inputs.iter().map(|input| (input.name.clone(), input.version.clone())).collect();
        let manual = origin == Origin::Manual;
        let planner = &self.scheduler.planner;
        let plan = planner.job(&self.facts.pipeline, &self.facts.config, &versions, manual);
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(build = %build.id, %error, "a build cannot be planned");
                self.store.finish_build(build.id, BuildStatus::Errored, None, self.now).await?;
                return Ok(Attempt::Settled);
            }
        };
        if self.store.start_build(build.id, &plan, inputs, pipes, self.now).await? {
            self.is_stale = true;
            return Ok(Attempt::Settled);
        }
        // Aborted or taken meanwhile, or another build of its group was faster.
        let aborted = self.store.build(build.id).await?.is_some_and(|build| build.aborted);
        if aborted {
            self.store.finish_build(build.id, BuildStatus::Aborted, None, self.now).await?;
            return Ok(Attempt::Settled);
        }
        Ok(Attempt::Waits)
    }

    /// The versions of the latest resolution as a build adopts them; none while undetermined.
    async fn chosen_inputs(&self) -> Result<Option<(Vec<BuildInput>, Vec<BuildId>)>> {
        if !self.resolution.determined() {
            return Ok(None);
        }
        let mut inputs = Vec::with_capacity(self.resolution.inputs.len());
        let mut pipes = Vec::new();
        for (name, chosen) in &self.resolution.inputs {
            let Ok(chosen) = chosen else { return Ok(None) };
            let Some(version) = self.version(chosen.version).await? else { return Ok(None) };
            inputs.push(BuildInput {
                name: name.clone(),
                resource: chosen.resource,
                resource_name: self.facts.resource_name(chosen.resource).to_owned(),
                pipeline: self.facts.job.pipeline.id,
                version_id: chosen.version,
                version,
                first_occurrence: chosen.first_occurrence,
            });
            pipes.extend(&chosen.passed_builds);
        }
        pipes.sort_unstable();
        pipes.dedup();
        Ok(Some((inputs, pipes)))
    }

    async fn version(&self, version: VersionId) -> Result<Option<Version>> {
        Ok(self.store.version(version).await?.map(|(_, version)| version))
    }

    /// What the original was made from; none while it has not started.
    async fn rerun_inputs(
        &self,
        original: BuildId,
    ) -> Result<Option<(Vec<BuildInput>, Vec<BuildId>)>> {
        let has_inputs = match self.store.build(original).await? {
            Some(build) => build.start_time.is_some(),
            None => false,
        };
        if !has_inputs {
            return Ok(None);
        }
        let mut inputs = self.store.build_inputs(original).await?;
        inputs.iter_mut().for_each(|input| input.first_occurrence = false);
        let pipes = self.store.pipes_of(original).await?;
        Ok(Some((inputs, pipes.into_iter().map(|pipe| pipe.build).collect())))
    }

    /// Passes the turn to another job of the serial groups whose build is now the first.
    async fn wake_group(&self) -> Result<()> {
        let job = &self.facts.job;
        if job.serial_groups.is_empty() {
            return Ok(());
        }
        let first = self.store.first_pending_in_groups(job.id).await?;
        if let Some(other) = first.filter(|first| *first != job.id)
            && self.store.running_in_groups(job.id).await? == 0
        {
            self.store.request_schedule(other, self.now).await?;
        }
        Ok(())
    }
}

fn next_inputs(resolution: &Resolution) -> Vec<NextInput> {
    resolution
        .inputs
        .iter()
        .map(|(name, result)| match result {
            Ok(chosen) => NextInput {
                name: name.clone(),
                resource: Some(chosen.resource),
                choice: NextInputChoice::Version {
                    version: chosen.version,
                    first_occurrence: chosen.first_occurrence,
                },
            },
            Err(failure) => NextInput {
                name: name.clone(),
                resource: None,
                choice: NextInputChoice::Unresolved { reason: failure.to_string() },
            },
        })
        .collect()
}
