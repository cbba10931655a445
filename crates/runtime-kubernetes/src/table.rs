//! All pods of ours, kept in memory by one watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use jb_metrics::Pods as Counts;
use jb_model::ContainerHandle;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;

use crate::failure::{Standing, lost, standing};
use crate::names;
use crate::pods::{is_of_build, phase};

/// Pods by name. Cheap to clone; all clones are one table.
#[derive(Clone)]
pub(crate) struct PodTable {
    inner: Arc<Inner>,
}

struct Inner {
    pods: Mutex<Pods>,
    /// Counts changes.
    changed: watch::Sender<u64>,
    /// Counts pods that ended or went without this server's doing.
    ended: watch::Sender<u64>,
}

struct Pods {
    by_name: BTreeMap<String, Entry>,
    /// Names seen in the list under way.
    listed: Option<BTreeSet<String>>,
    complete: bool,
    counts: Counts,
}

struct Entry {
    pod: Arc<Pod>,
    /// Known from its creation only: a list that was begun before does not have it.
    unconfirmed: bool,
}

impl PodTable {
    pub(crate) fn new(counts: Counts) -> Self {
        let pods = Pods { by_name: BTreeMap::new(), listed: None, complete: false, counts };
        let (changed, ended) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { inner: Arc::new(Inner { pods: Mutex::new(pods), changed, ended }) }
    }

    fn lock(&self) -> MutexGuard<'_, Pods> {
        self.inner.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.inner.changed.send_modify(|count| *count += 1);
    }

    /// Told of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Told when a pod ended or went and this server did not ask for it.
    pub(crate) fn endings(&self) -> watch::Receiver<u64> {
        self.inner.ended.subscribe()
    }

    /// Follows the cluster for ever. Broken watches are resumed, and begun anew when they are too old.
    pub(crate) async fn follow(self, pods: Api<Pod>, worker: String) {
        let config = watcher::Config::default().labels(&names::selector(&worker));
        let mut events = std::pin::pin!(watcher(pods, config).backoff(Patience::default()));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => tracing::warn!(%error, "the watch of pods broke; it is resumed"),
            }
        }
    }

    fn take(&self, event: watcher::Event<Pod>) {
        let ended = self.lock().take(event);
        if ended {
            self.inner.ended.send_modify(|count| *count += 1);
        }
        self.tell();
    }

    /// Takes in a pod that was just created, before the watch tells of it.
    pub(crate) fn created(&self, pod: Pod) {
        let mut pods = self.lock();
        let known = pod.metadata.name.as_ref().and_then(|name| pods.by_name.get(name));
        if known.is_none_or(|known| known.pod.metadata.uid != pod.metadata.uid) {
            pods.put(pod, true);
        }
        drop(pods);
        self.tell();
    }

    /// Takes out a pod that was just deleted.
    pub(crate) fn deleted(&self, name: &str) {
        self.lock().remove(name);
        self.tell();
    }

    /// Whether the first list is whole.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// The pod of a container, unless it is about to go.
    pub(crate) fn of(&self, handle: &ContainerHandle) -> Option<Arc<Pod>> {
        let pods = self.lock();
        let mut found =
            pods.by_name.values().filter(|entry| handle_of(&entry.pod) == Some(handle.as_str()));
        found.find(|entry| is_meant(&entry.pod)).map(|entry| Arc::clone(&entry.pod))
    }

    /// Why a container's pod is about to go, if the cluster itself takes it away.
    pub(crate) fn lost(&self, handle: &ContainerHandle) -> Option<String> {
        let pods = self.lock();
        let mut found = pods.by_name.values().filter(|entry| {
            handle_of(&entry.pod) == Some(handle.as_str()) && !is_meant(&entry.pod)
        });
        found.find_map(|entry| lost(&entry.pod))
    }

    /// The pods of a build's steps, those that are about to go too.
    pub(crate) fn of_build(&self, build: &str) -> Vec<Arc<Pod>> {
        let pods = self.lock();
        let found = pods.by_name.values().filter(|entry| is_of_build(&entry.pod, build));
        found.map(|entry| Arc::clone(&entry.pod)).collect()
    }

    /// Every pod that is not about to go.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        let pods = self.lock();
        let meant = pods.by_name.values().filter(|entry| is_meant(&entry.pod));
        meant.map(|entry| Arc::clone(&entry.pod)).collect()
    }
}

impl Pods {
    /// True when a pod that was alive is not any more.
    fn take(&mut self, event: watcher::Event<Pod>) -> bool {
        match event {
            watcher::Event::Apply(pod) => self.put(pod, false),
            watcher::Event::Delete(pod) => {
                let same = |entry: &Entry| entry.pod.metadata.uid == pod.metadata.uid;
                match &pod.metadata.name {
                    Some(name) if self.by_name.get(name).is_some_and(same) => self.remove(name),
                    _ => false,
                }
            }
            watcher::Event::Init => {
                self.listed = Some(BTreeSet::new());
                false
            }
            watcher::Event::InitApply(pod) => {
                if let (Some(listed), Some(name)) = (&mut self.listed, &pod.metadata.name) {
                    listed.insert(name.clone());
                }
                self.put(pod, false)
            }
            watcher::Event::InitDone => {
                self.complete = true;
                match self.listed.take() {
                    Some(listed) => {
                        self.retain(|name, entry| listed.contains(name) || entry.unconfirmed)
                    }
                    None => false,
                }
            }
        }
    }

    /// True when the pod of that name was alive and is not any more.
    fn put(&mut self, pod: Pod, unconfirmed: bool) -> bool {
        let Some(name) = pod.metadata.name.clone() else { return false };
        count(&self.counts, &pod, 1);
        let is_alive_now = is_alive(&pod);
        let former = self.by_name.insert(name, Entry { pod: Arc::new(pod), unconfirmed });
        let Some(former) = former else { return false };
        count(&self.counts, &former.pod, -1);
        !is_alive_now && is_alive(&former.pod)
    }

    /// True when it was alive.
    fn remove(&mut self, name: &str) -> bool {
        let Some(gone) = self.by_name.remove(name) else { return false };
        count(&self.counts, &gone.pod, -1);
        is_alive(&gone.pod)
    }

    /// True when one that is not kept was alive.
    fn retain(&mut self, keep: impl Fn(&String, &Entry) -> bool) -> bool {
        let (counts, mut ended) = (&self.counts, false);
        self.by_name.retain(|name, entry| {
            let is_kept = keep(name, entry);
            if !is_kept {
                count(counts, &entry.pod, -1);
                ended |= is_alive(&entry.pod);
            }
            is_kept
        });
        ended
    }
}

fn count(counts: &Counts, pod: &Pod, change: i64) {
    counts.present(names::kind_of(pod), phase(pod), change);
}

/// Whether it may still do what it was made for.
fn is_alive(pod: &Pod) -> bool {
    is_meant(pod) && !matches!(standing(pod), Standing::Over(_))
}

/// Between attempts to watch again. An API server that is back is known to be soon: new pods wait for its word.
#[derive(Default)]
struct Patience(watcher::DefaultBackoff);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// False once it was deleted and only takes its time.
pub(crate) fn is_meant(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

pub(crate) fn handle_of(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(names::HANDLE).map(String::as_str)
}

#[cfg(test)]
mod tests;
