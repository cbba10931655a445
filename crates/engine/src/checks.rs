//! Checks resources for new versions.
//!
//! A check is a build of one check step, named `check`, driven like any other. Three things create
//! one: [`Checks::run_due`], a reconciler over the resources whose time has come;
//! [`Checks::check_for_build`], when a pending build waits for fresh versions; and
//! [`Checks::check_now`], for people and webhooks.
//!
//! A resource's versions belong to a *scope*: the history of one source of one type. Only the step
//! knows it, because sources hold secrets and types have versions. So the step calls
//! [`Checks::begin`] before it runs anything, and [`Checks::finish`] with what it found.

mod begin;
pub mod timing;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jb_metrics::{Checks as Counts, Metrics};
use jb_model::config::{ResourceConfig, ResourceTypeConfig};
use jb_model::{BuildId, PipelineConfig, ResourceId, ScopeId, Timestamp, Version};
use jb_store::{
    BuildRecord, Change, CheckState, NewCheckBuild, ResourceKind, ResourceRecord, Result, Store,
};
use tokio::sync::broadcast::error::RecvError;

use crate::Clock;
use crate::scheduler::configs::Configs;
use crate::scheduler::plans::{Planner, WantedCheck};
pub use begin::{Planned, Purpose, is_served};
use timing::{CheckSettings, Checkable, RateLimit};

/// How often due checks are looked for without a nudge.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// The least time between two rounds, so that checks that fall due one by one are taken together.
const MIN_ROUND: Duration = Duration::from_millis(500);
/// Resources that are never checked, or pinned to a known version, are looked at again after this time.
const PUT_OFF: Duration = Duration::from_secs(60 * 60);
/// A running check that says nothing for this long beyond its timeout is taken for lost.
const STALE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Due resources read at once.
const MAX_DUE: u32 = 500;
/// How long the count of periodic checks serves for the rate limit.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// What a check step asks before it runs.
#[derive(Clone, Copy, Debug)]
pub struct BeginCheck<'a> {
    /// The checked resource or type; none for the image of a task.
    pub resource: Option<ResourceId>,
    /// Where the versions go: the scope of the source with its vars filled in.
    pub scope: ScopeId,
    /// The build that checks; none for the check of an image inside another build.
    pub build: Option<BuildId>,
    pub purpose: Purpose,
    /// As planned: someone asked for it.
    pub skip_interval: bool,
    /// As planned; without it the newest version known.
    pub from_version: Option<&'a Version>,
    pub build_created: Timestamp,
    pub build_started: Timestamp,
}

/// What a check step shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Run the check from this version on.
    Run { from: Option<Version> },
    /// Nothing; this is the newest version.
    Served { newest: Option<Version> },
    /// Another check of the scope is running: ask again in a second.
    Busy,
}

/// What someone asks to be checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckRequest<'a> {
    /// Check from this version on, not from the newest known.
    pub from: Option<&'a Version>,
    /// Leave the types of the resource's type unchecked if their interval has not passed.
    pub shallow: bool,
    pub created_by: Option<&'a str>,
}

/// On whose behalf a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Clock,
    /// A pending build, and whether a person asked for that.
    Build {
        manual: bool,
    },
    Person,
}

/// Creates checks and keeps what they find.
pub struct Checks {
    store: Store,
    configs: Arc<Configs>,
    planner: Arc<Planner>,
    settings: CheckSettings,
    rate: Mutex<Rate>,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct Rate {
    limit: RateLimit,
    n_periodic: usize,
    counted_at: Option<Timestamp>,
}

impl Checks {
    pub fn new(
        store: Store,
        configs: Arc<Configs>,
        planner: Arc<Planner>,
        settings: CheckSettings,
    ) -> Self {
        let (rate, counts) = (Mutex::default(), Metrics::default().checks);
        Self { store, configs, planner, settings, rate, counts }
    }

    /// Counts in these.
    #[must_use]
    pub fn counting(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// Creates checks as they fall due until it is dropped.
    pub async fn run(self: Arc<Self>, clock: Clock) {
        let mut changes = self.store.subscribe();
        loop {
            let now = clock();
            let wait = match self.run_due(now).await {
                Ok(next) => {
                    next.map_or(INTERVAL, |next| next.since(now).clamp(MIN_ROUND, INTERVAL))
                }
                Err(error) => {
                    tracing::error!(%error, "failed to look for due checks");
                    INTERVAL
                }
            };
            let timer = tokio::time::sleep(wait);
            tokio::pin!(timer);
            loop {
                tokio::select! {
                    () = &mut timer => break,
                    change = changes.recv() => match change {
                        Ok(Change::CheckRequested | Change::Everything) => break,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => { timer.as_mut().await; break; }
                    },
                }
            }
        }
    }

    /// Creates the checks that are due, as many as the rate allows. Says when to look again.
    pub async fn run_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let mut due = self.store.resources_due(now, MAX_DUE).await?;
        if due.is_empty() {
            return self.store.next_check_due().await;
        }
        due.sort_by_key(|resource| (resource.check.next_due, resource.id));
        let mut periodic = Vec::with_capacity(due.len());
        let mut next_checks = Vec::with_capacity(due.len());
        for resource in due {
            match self.periodic_interval(&resource).await? {
                Some(interval) => periodic.push((resource, interval)),
                None => next_checks.push((resource.id, now.after(PUT_OFF))),
            }
        }
        let per_second = self.checks_per_second(now).await?;
        let n_allowed = {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.limit.take(periodic.len(), per_second, now, INTERVAL)
        };
        let is_limited = n_allowed < periodic.len();
        periodic.truncate(n_allowed);
        // The check's own end sets the time anew; until then this keeps it from being due again, also
        // when it never gets as far as knowing its scope.
        next_checks.extend(periodic.iter().map(|(resource, it)| (resource.id, now.after(*it))));
        self.store.set_next_checks(&next_checks).await?;
        for (resource, _) in periodic {
            self.create(&resource, &CheckRequest::default(), Asker::Clock, now).await?;
        }
        if is_limited {
            Ok(Some(now.after(Duration::from_secs(1))))
        } else {
            self.store.next_check_due().await
        }
    }

    /// The interval of a resource that is due; none if it shall not be checked by the clock after all.
    async fn periodic_interval(&self, resource: &ResourceRecord) -> Result<Option<Duration>> {
        let Some(pipeline) = self.configs.get(resource.pipeline.id).await? else { return Ok(None) };
        let Some(config) = resource_config(&pipeline, &resource.name) else { return Ok(None) };
        let Some(interval) = self.interval_of(config) else { return Ok(None) };
        if let Some(pin) = config.version.as_ref().filter(|_| resource.check.succeeded) {
            // Once the pinned version is known, only what triggers a job is asked for more.
            let is_known = self.store.pinned_version(resource.id, pin).await?.is_some();
            if is_known && !self.store.is_trigger(resource.id).await? {
                return Ok(None);
            }
        }
        Ok(Some(interval))
    }

    /// The time between periodic checks of a resource; none for never.
    pub(crate) fn interval_of(&self, config: &ResourceConfig) -> Option<Duration> {
        let what = Checkable::Resource { has_webhook: !config.webhook_token.is_empty() };
        timing::interval(&config.check_every, what, &self.settings)
    }

    async fn checks_per_second(&self, now: Timestamp) -> Result<Option<f64>> {
        let known = {
            let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.counted_at.filter(|at| now.since(*at) < COUNT_EVERY).map(|_| rate.n_periodic)
        };
        let n_periodic = match known {
            Some(known) => known,
            None => {
                let counted = self.store.count_periodic_checks().await?;
                let counted = usize::try_from(counted).unwrap_or(usize::MAX);
                let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
                rate.n_periodic = counted;
                rate.counted_at = Some(now);
                counted
            }
        };
        Ok(timing::checks_per_second(&self.settings, n_periodic))
    }

    /// Makes sure a check of a resource is under way for a build that waits for it.
    pub async fn check_for_build(
        &self,
        resource: ResourceId,
        manual: bool,
        now: Timestamp,
    ) -> Result<()> {
        let Some(resource) = self.store.resource(resource).await? else { return Ok(()) };
        self.create(&resource, &CheckRequest::default(), Asker::Build { manual }, now).await?;
        Ok(())
    }

    /// Creates a check that someone asked for. None when the resource is not there any more.
    pub async fn check_now(
        &self,
        resource: ResourceId,
        request: &CheckRequest<'_>,
        now: Timestamp,
    ) -> Result<Option<BuildRecord>> {
        let Some(resource) = self.store.resource(resource).await? else { return Ok(None) };
        self.create(&resource, request, Asker::Person, now).await
    }

    /// Creates the build of a check, started; none when it is not needed, or cannot be planned.
    async fn create(
        &self,
        resource: &ResourceRecord,
        request: &CheckRequest<'_>,
        asker: Asker,
        now: Timestamp,
    ) -> Result<Option<BuildRecord>> {
        let skip_interval = matches!(asker, Asker::Build { manual: true } | Asker::Person);
        let Some(pipeline) = self.configs.get(resource.pipeline.id).await? else { return Ok(None) };
        let pin = || pin_of(&pipeline, resource).filter(|_| !skip_interval);
        let from = request.from.cloned().or_else(pin);
        let wanted = WantedCheck {
            kind: resource.kind,
            name: &resource.name,
            from_version: from,
            interval: self.interval(&pipeline, resource),
            skip_interval,
            skip_interval_of_types: skip_interval && !request.shallow,
        };
        let plan = match self.planner.check(&pipeline, &wanted) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(resource = %resource.id, %error, "a check cannot be planned");
                return Ok(None);
            }
        };
        let check = NewCheckBuild {
            resource: resource.id,
            // A person gets a check of their own; for the others one that is running will do.
            manual: asker == Asker::Person,
            created_by: request.created_by,
            plan: Some(&plan),
        };
        let build = self.store.create_check_build(check, now).await?;
        if build.is_some() {
            self.counts.enqueued();
        }
        Ok(build)
    }

    fn interval(&self, pipeline: &PipelineConfig, resource: &ResourceRecord) -> Option<Duration> {
        match resource.kind {
            ResourceKind::Resource => self.interval_of(resource_config(pipeline, &resource.name)?),
            ResourceKind::ResourceType => {
                let config = type_config(&pipeline.resource_types, &resource.name)?;
                timing::interval(&config.check_every, Checkable::Type, &self.settings)
            }
            ResourceKind::Prototype => {
                let config = type_config(&pipeline.prototypes, &resource.name)?;
                timing::interval(&config.check_every, Checkable::Type, &self.settings)
            }
        }
    }

    async fn interval_by_id(&self, resource: Option<ResourceId>) -> Result<Option<Duration>> {
        let Some(resource) = resource else { return Ok(Some(self.settings.resource_interval)) };
        let Some(resource) = self.store.resource(resource).await? else { return Ok(None) };
        let pipeline = self.configs.get(resource.pipeline.id).await?;
        Ok(pipeline.and_then(|pipeline| self.interval(&pipeline, &resource)))
    }

    /// What a check step does before anything else; see [`Begin`].
    pub async fn begin(&self, check: &BeginCheck<'_>, now: Timestamp) -> Result<Begin> {
        let scope = check.scope;
        let last = self.store.check_state(scope).await?.unwrap_or_default();
        let planned = Planned {
            purpose: check.purpose,
            skip_interval: check.skip_interval,
            has_from_version: check.from_version.is_some(),
            interval: self.interval_by_id(check.resource).await?,
            build_created: check.build_created,
            build_started: check.build_started,
        };
        if is_served(&planned, &last, now) {
            let newest = self.store.latest_version(scope).await?.map(|(_, version)| version);
            return Ok(Begin::Served { newest });
        }
        let alive_since = self.settings.timeout.saturating_add(STALE_AFTER);
        let micros = i64::try_from(alive_since.as_micros()).unwrap_or(i64::MAX);
        let stale_before = Timestamp(now.0.saturating_sub(micros));
        let store = &self.store;
        if !store.start_check(scope, check.build, stale_before, now).await? {
            if self.is_busy(check, &last).await? {
                return Ok(Begin::Busy);
            }
            // What seemed to run is this very check, begun anew, or was cut short.
            store.start_check(scope, check.build, now, now).await?;
        }
        self.counts.started();
        let from = match check.from_version {
            Some(from) => Some(from.clone()),
            None => self.store.latest_version(scope).await?.map(|(_, version)| version),
        };
        Ok(Begin::Run { from })
    }

    /// Whether the check that seems to run on a scope is another resource's, and does run. Checks of
    /// images do not wait: they are not recorded as anyone's.
    async fn is_busy(&self, check: &BeginCheck<'_>, last: &CheckState) -> Result<bool> {
        let other = last.last_build.filter(|holder| Some(*holder) != check.build);
        let (Some(other), Purpose::Resource) = (other, check.purpose) else { return Ok(false) };
        let other = self.store.build(other).await?;
        Ok(other.is_some_and(|build| !build.status.is_final()))
    }

    /// Keeps what a check found (`None` when it failed) and sets when the next is due. Jobs that use
    /// the scope are scheduled when something is new, those whose builds wait for it in any case.
    pub async fn finish(
        &self,
        resource: Option<ResourceId>,
        scope: ScopeId,
        found: Option<&[Version]>,
        now: Timestamp,
    ) -> Result<()> {
        self.counts.finished(found.is_some());
        let before = self.store.check_state(scope).await?.unwrap_or_default();
        if let Some(versions) = found.filter(|versions| !versions.is_empty()) {
            self.store.save_versions(scope, versions, now).await?;
        }
        let interval = self.interval_by_id(resource).await?;
        let spacing = match found {
            Some(_) => interval,
            None => interval.map(|it| timing::spacing_after_failure(it, failed_spacing(&before))),
        };
        self.store.finish_check(scope, found.is_some(), spacing, now).await?;
        let users = self.store.resources_of_scope(scope).await?;
        let ids: BTreeSet<ResourceId> = users.iter().map(|user| user.id).chain(resource).collect();
        self.wake(ids, now).await
    }

    /// To be called when a check build ended, however it did: builds may wait for a check that could
    /// not even begin.
    pub async fn build_ended(&self, resource: ResourceId, now: Timestamp) -> Result<()> {
        self.wake(BTreeSet::from([resource]), now).await
    }

    async fn wake(&self, resources: BTreeSet<ResourceId>, now: Timestamp) -> Result<()> {
        let ids: Vec<ResourceId> = resources.into_iter().collect();
        self.store.wake_waiting_jobs(&ids, now).await?;
        Ok(())
    }
}

/// The time from the end of the last check to the start of this one, if that one failed.
fn failed_spacing(before: &CheckState) -> Option<Duration> {
    if before.succeeded {
        return None;
    }
    Some(before.last_start?.since(before.last_end?))
}

/// Where a periodic check of a pinned resource starts.
fn pin_of(pipeline: &PipelineConfig, resource: &ResourceRecord) -> Option<Version> {
    let configured = resource_config(pipeline, &resource.name)
        .filter(|_| resource.kind == ResourceKind::Resource)
        .and_then(|config| config.version.clone());
    configured.or_else(|| resource.pin.as_ref().map(|pin| pin.version.clone()))
}

fn resource_config<'a>(pipeline: &'a PipelineConfig, name: &str) -> Option<&'a ResourceConfig> {
    pipeline.resources.iter().find(|resource| resource.name == name)
}

fn type_config<'a>(types: &'a [ResourceTypeConfig], name: &str) -> Option<&'a ResourceTypeConfig> {
    types.iter().find(|config| config.name == name)
}

#[cfg(test)]
mod tests;
