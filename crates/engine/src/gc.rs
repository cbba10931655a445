//! Collects what builds and checks leave behind.
//!
//! A round is made every half a minute, and what concerns containers that ended by themselves as soon as the runtime
//! tells of it. Several servers may do this on one database and runtime: what is removed follows from records and from
//! what the runtime has, and removing a thing twice is harmless.
//!
//! A round removes containers and volumes in the runtime first and their records after, so that a
//! round cut short is made good by the next. What only one side knows of is removed once it has
//! stayed so for a grace period (see [`decide`]).

pub mod decide;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jb_metrics::{Collection, Metrics};
use jb_model::{BuildId, ContainerHandle, Timestamp, VolumeHandle};
use jb_store::{ContainerFilter, ContainerRecord, Store};
use tokio::sync::watch;

use crate::Clock;
use crate::places::{Place, Places};
use decide::{GraceSettings, Strays};

/// How often a round is made.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// The least time between looks at containers that ended.
const LOOK_SPACING: Duration = Duration::from_secs(1);
/// How many things of each kind one round removes.
const MAX_PER_ROUND: u32 = 500;
/// Versions of images are forgotten when no task asked for them for a week.
const KEEP_HISTORIES_US: i64 = 7 * 24 * 60 * 60 * 1_000_000;
/// Logs of ended builds packed per round.
const MAX_PACKED: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {what}: {source}")]
    Store { what: &'static str, source: jb_store::Error },
    #[error("failed to {what}: {source}")]
    Runtime { what: &'static str, source: jb_runtime::Error },
}

fn stored(what: &'static str) -> impl FnOnce(jb_store::Error) -> Error {
    move |source| Error::Store { what, source }
}

fn ran(what: &'static str) -> impl FnOnce(jb_runtime::Error) -> Error {
    move |source| Error::Runtime { what, source }
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub containers: usize,
    pub volumes: usize,
    pub artifacts: usize,
    pub caches: u64,
    pub check_builds: u64,
}

/// Collects garbage.
pub struct Collector {
    store: Store,
    places: Places,
    settings: GraceSettings,
    /// By place.
    containers: Mutex<BTreeMap<String, Strays>>,
    volumes: Mutex<BTreeMap<String, Strays>>,
    counts: Collection,
}

impl Collector {
    pub fn new(store: Store, places: impl Into<Places>, settings: GraceSettings) -> Self {
        let (containers, volumes) = (Mutex::default(), Mutex::default());
        let counts = Metrics::default().collection;
        Self { store, places: places.into(), settings, containers, volumes, counts }
    }

    /// Counts in these.
    #[must_use]
    pub fn counting(self, counts: Collection) -> Self {
        Self { counts, ..self }
    }

    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>, clock: Clock) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.tell_of_other_workers().await;
        let mut endings: Vec<_> =
            self.places.iter().filter_map(|place| place.runtime.endings()).collect();
        loop {
            tokio::select! {
                _ = interval.tick() => drop(self.run_once(clock()).await),
                () = ending(&mut endings) => {
                    self.collect_ended().await;
                    tokio::time::sleep(LOOK_SPACING).await;
                }
            }
        }
    }

    /// One round. A part that fails is logged and does not keep the others from being done.
    pub async fn run_once(&self, now: Timestamp) -> Collected {
        let cutoffs = self.settings.cutoffs(now);
        let begin = Instant::now();
        let mut containers = log(self.collect_containers(&cutoffs, now).await);
        containers += self.collect_ended().await;
        self.counts.containers(begin.elapsed(), containers);
        let artifacts = self.store.delete_old_artifacts(cutoffs.artifacts).await;
        let artifacts = log(artifacts.map_err(stored("delete old artifacts"))).len();
        let caches = self.store.delete_unused_caches(cutoffs.caches, MAX_PER_ROUND).await;
        let caches = log(caches.map_err(stored("forget unused caches")));
        let task_caches = self.store.delete_stale_task_caches(cutoffs.task_caches).await;
        let caches = caches + log(task_caches.map_err(stored("forget caches of tasks")));
        let begin = Instant::now();
        let volumes = log(self.collect_volumes(&cutoffs, now).await);
        self.counts.volumes(begin.elapsed(), volumes);
        let checks = self.store.delete_old_checks(cutoffs.check_builds, MAX_PER_ROUND).await;
        let check_builds = log(checks.map_err(stored("delete old checks")));
        log(self.keep_house(now).await);
        Collected { containers, volumes, artifacts, caches, check_builds }
    }

    async fn collect_containers(
        &self,
        cutoffs: &decide::Cutoffs,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let mut unneeded: BTreeSet<ContainerHandle> = BTreeSet::new();
        for worker in self.places.workers() {
            let collectable = self
                .store
                .collectable_containers(
                    worker,
                    cutoffs.ended,
                    cutoffs.failed,
                    cutoffs.checked,
                    cutoffs.hijacked,
                    MAX_PER_ROUND,
                )
                .await
                .map_err(stored("list containers to collect"))?;
            let finished = self
                .store
                .finished_containers(worker, cutoffs.checked, cutoffs.hijacked, MAX_PER_ROUND)
                .await
                .map_err(stored("list containers of finished builds"))?;
            unneeded.extend(collectable.into_iter().chain(finished));
        }
        let mut n_removed = 0;
        for handle in unneeded {
            n_removed += usize::from(self.remove_container(&handle).await);
        }
        let places = self.places.iter().map(|place| self.stray_containers(place, now));
        n_removed +=
            futures_util::future::join_all(places).await.into_iter().map(log).sum::<usize>();
        Ok(n_removed)
    }

    /// Removes what only one side of a place knows of. One that does not answer is left as it is.
    async fn stray_containers(&self, place: &Place, now: Timestamp) -> Result<usize, Error> {
        let running = place.runtime.list().await.map_err(ran("list a worker's containers"))?;
        let running = running.into_iter().map(|container| container.handle.0).collect();
        let recorded = self.store.container_handles(place.name()).await;
        let recorded = recorded.map_err(stored("list containers"))?;
        let recorded: BTreeSet<String> = recorded.into_iter().map(|handle| handle.0).collect();
        let stale = {
            let mut strays = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
            let strays = strays.entry(place.name().to_owned()).or_default();
            strays.look(&running, &recorded, self.settings.missing, now)
        };
        let mut n_removed = 0;
        for handle in stale.unknown.into_iter().chain(stale.missing).map(ContainerHandle) {
            n_removed += usize::from(self.remove_container_from(place, &handle).await);
        }
        Ok(n_removed)
    }

    /// Removes the containers of builds that are over which ended by themselves or are gone: what they said is stored,
    /// and nobody can look into them.
    async fn collect_ended(&self) -> usize {
        let places = self.places.iter().map(|place| self.collect_ended_of(place));
        futures_util::future::join_all(places).await.into_iter().map(log).sum()
    }

    async fn collect_ended_of(&self, place: &Place) -> Result<usize, Error> {
        let over = self.store.containers_of_ended_builds(place.name()).await;
        let over = over.map_err(stored("list containers of builds that are over"))?;
        if over.is_empty() {
            return Ok(0);
        }
        let present = place.runtime.list().await.map_err(ran("list a worker's containers"))?;
        let running = present.into_iter().filter(|container| container.running);
        let running: BTreeSet<ContainerHandle> = running.map(|it| it.handle).collect();
        let mut n_removed = 0;
        for handle in over.iter().filter(|handle| !running.contains(*handle)) {
            n_removed += usize::from(self.remove_container_from(place, handle).await);
        }
        Ok(n_removed)
    }

    /// Removes the containers of a build that succeeded, without waiting for a round: nobody looks into
    /// them, and a busy server would keep hundreds. What their places have more urgent to do comes first.
    pub async fn remove_finished_containers_of(&self, build: BuildId) {
        let workers: BTreeSet<String> =
            self.containers_of(build).await.into_iter().map(|container| container.worker).collect();
        let places = workers.into_iter().filter_map(|worker| self.place(Some(worker)));
        futures_util::future::join_all(places.map(|place| place.runtime.leisure())).await;
        self.remove_containers_of(build).await;
    }

    /// Removes the containers of a build that is over. One that was entered stays for its grace period.
    pub async fn remove_containers_of(&self, build: BuildId) {
        for container in self.containers_of(build).await {
            if container.last_hijack.is_none() {
                self.remove_container(&container.handle).await;
            }
        }
    }

    async fn containers_of(&self, build: BuildId) -> Vec<ContainerRecord> {
        let filter = ContainerFilter { build: Some(build), ..ContainerFilter::default() };
        let containers = self.store.containers(&filter, MAX_PER_ROUND).await;
        log(containers.map_err(stored("list a build's containers")))
    }

    /// Destroys a container and forgets it; one that cannot be destroyed now is tried again later.
    pub(crate) async fn remove_container(&self, handle: &ContainerHandle) -> bool {
        let row = self.store.container(handle).await;
        let row = log(row.map_err(stored("find a container")));
        match self.place(row.map(|row| row.worker)) {
            Some(place) => self.remove_container_from(place, handle).await,
            None => false,
        }
    }

    /// The place of a row's worker. What has no row is nowhere, unless there is but one place. Rows of workers that this
    /// server does not have stay: their containers do, too, and another server or a later one may have them.
    fn place(&self, worker: Option<String>) -> Option<&Arc<Place>> {
        match (self.places.only(), worker) {
            (Some(only), None) => Some(only),
            (Some(only), Some(_)) if !only.runtime.keeps_to_its_name() => Some(only),
            (_, worker) => self.places.named(&worker?),
        }
    }

    /// Says which workers this server does not have whose containers are recorded.
    async fn tell_of_other_workers(&self) {
        let absent = self.places.absent_workers(&self.store).await;
        for absent in log(absent.map_err(stored("list workers"))) {
            tracing::warn!(
                worker = absent.name,
                containers = absent.containers,
                volumes = absent.volumes,
                "containers and volumes stay that are of a worker which this server does not have; a server that has it \
                 removes them, and `fly prune-worker` forgets them"
            );
        }
    }

    async fn remove_container_from(&self, place: &Place, handle: &ContainerHandle) -> bool {
        if let Err(error) = place.runtime.destroy(handle).await {
            tracing::warn!(container = %handle, %error, "failed to destroy a container");
            return false;
        }
        match self.store.delete_container(handle).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(container = %handle, %error, "failed to forget a container");
                false
            }
        }
    }

    async fn collect_volumes(
        &self,
        cutoffs: &decide::Cutoffs,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let mut n_removed = 0;
        for worker in self.places.workers() {
            let unneeded = self.store.collectable_volumes(worker, cutoffs.volumes, MAX_PER_ROUND);
            for handle in unneeded.await.map_err(stored("list volumes to collect"))? {
                n_removed += usize::from(self.remove_volume(&handle).await);
            }
        }
        let places = self.places.iter().map(|place| self.stray_volumes(place, now));
        n_removed +=
            futures_util::future::join_all(places).await.into_iter().map(log).sum::<usize>();
        Ok(n_removed)
    }

    /// As [`Self::stray_containers`]. Tells whether a place answers, too.
    async fn stray_volumes(&self, place: &Place, now: Timestamp) -> Result<usize, Error> {
        let present = place.runtime.list_volumes().await;
        place.answered(!matches!(present, Err(jb_runtime::Error::Transient { .. })));
        let present = present.map_err(ran("list a worker's volumes"))?;
        let present = present.into_iter().map(|volume| volume.0).collect();
        let recorded = self.store.volume_handles(place.name()).await;
        let recorded = recorded.map_err(stored("list volumes"))?;
        let recorded: BTreeSet<String> = recorded.into_iter().map(|handle| handle.0).collect();
        let stale = {
            let mut strays = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
            let strays = strays.entry(place.name().to_owned()).or_default();
            strays.look(&present, &recorded, self.settings.missing, now)
        };
        let mut n_removed = 0;
        for handle in stale.unknown.into_iter().chain(stale.missing).map(VolumeHandle) {
            n_removed += usize::from(self.remove_volume_from(place, &handle).await);
        }
        Ok(n_removed)
    }

    /// Destroys a volume and forgets it; one that cannot be destroyed now is tried again later.
    pub(crate) async fn remove_volume(&self, handle: &VolumeHandle) -> bool {
        let row = self.store.volume(handle).await;
        let row = log(row.map_err(stored("find a volume")));
        match self.place(row.map(|row| row.volume.worker)) {
            Some(place) => self.remove_volume_from(place, handle).await,
            None => false,
        }
    }

    async fn remove_volume_from(&self, place: &Place, handle: &VolumeHandle) -> bool {
        if let Err(error) = place.runtime.destroy_volume(handle).await {
            tracing::warn!(volume = %handle, %error, "failed to destroy a volume");
            return false;
        }
        match self.store.delete_volume(handle).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(volume = %handle, %error, "failed to forget a volume");
                false
            }
        }
    }

    /// What else is done in rounds: packing logs, archiving and pausing pipelines, old tokens.
    async fn keep_house(&self, now: Timestamp) -> Result<(), Error> {
        let unpacked = self.store.uncompacted_builds(MAX_PACKED).await;
        for build in unpacked.map_err(stored("list logs to pack"))? {
            self.store.compact_events(build).await.map_err(stored("pack a log"))?;
        }
        let abandoned = self.store.archive_abandoned_pipelines(now).await;
        abandoned.map_err(stored("archive abandoned pipelines"))?;
        let unused = Timestamp(now.0.saturating_sub(KEEP_HISTORIES_US));
        let deleted = self.store.delete_unused_scopes(unused, MAX_PER_ROUND).await;
        deleted.map_err(stored("delete histories that nobody uses"))?;
        self.store.delete_expired_tokens(now).await.map_err(stored("delete expired tokens"))?;
        let idle = self.settings.pause_pipelines;
        if !idle.is_zero() {
            let micros = i64::try_from(idle.as_micros()).unwrap_or(i64::MAX);
            let since = Timestamp(now.0.saturating_sub(micros));
            let paused =
                self.store.pause_idle_pipelines(since, "automatic-pipeline-pauser", now).await;
            paused.map_err(stored("pause idle pipelines"))?;
        }
        Ok(())
    }
}

/// Returns when containers have ended in any place; never where nobody tells.
async fn ending(endings: &mut Vec<watch::Receiver<u64>>) {
    while !endings.is_empty() {
        let changes = endings.iter_mut().map(|endings| Box::pin(endings.changed()));
        let (changed, n, _) = futures_util::future::select_all(changes).await;
        if changed.is_ok() {
            return;
        }
        endings.swap_remove(n);
    }
    std::future::pending().await
}

fn log<T: Default>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "a part of collecting garbage failed");
        T::default()
    })
}

#[cfg(test)]
mod tests;
