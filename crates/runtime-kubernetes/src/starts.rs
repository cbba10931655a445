//! Which containers have started, as the cluster's events tell: milliseconds after, when the status of their pods lags
//! by seconds and only makes up for events that were lost. So nobody has to ask nodes again and again, which with many
//! pods keeps nodes from starting them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;

/// Starts remembered; when there are more, all are forgotten, and who waits asks the node.
const REMEMBERED_MAX: usize = 20_000;
/// What the kubelet says when it started a container.
const STARTED: &str = "involvedObject.kind=Pod,reason=Started";

/// Cheap to clone; all clones know the same.
#[derive(Clone)]
pub(crate) struct Starts {
    inner: Arc<Inner>,
}

struct Inner {
    known: Mutex<Known>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    /// Pods by their uid, with the path of a container in them.
    started: HashSet<(String, String)>,
    /// Events come, so that one that did not has not happened yet.
    heard: bool,
}

impl Starts {
    pub(crate) fn new() -> Self {
        let (known, changed) = (Mutex::default(), watch::Sender::new(0));
        Self { inner: Arc::new(Inner { known, changed }) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Follows the cluster for ever.
    pub(crate) async fn follow(self, events: Api<Event>) {
        let config = watcher::Config::default().fields(STARTED);
        let mut stream = std::pin::pin!(watcher(events, config).default_backoff());
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => {
                    if std::mem::take(&mut self.lock().heard) {
                        tracing::warn!(%error, "the watch of events broke; it is resumed");
                    } else {
                        tracing::info!(
                            %error,
                            "events cannot be watched, so nodes are asked whether containers have started"
                        );
                    }
                }
            }
        }
    }

    fn take(&self, event: watcher::Event<Event>) {
        let mut known = self.lock();
        match event {
            watcher::Event::Apply(event) | watcher::Event::InitApply(event) => {
                let object = event.involved_object;
                if let (Some(uid), Some(path)) = (object.uid, object.field_path) {
                    if known.started.len() >= REMEMBERED_MAX {
                        known.started.clear();
                    }
                    known.started.insert((uid, path));
                }
            }
            watcher::Event::InitDone => known.heard = true,
            // What is forgotten here happened nevertheless.
            watcher::Event::Init | watcher::Event::Delete(_) => return,
        }
        drop(known);
        self.inner.changed.send_modify(|count| *count += 1);
    }

    /// Whether a container of a pod, of either kind, has started; `None` when that is not known here.
    pub(crate) fn of(&self, pod: &Pod, container: &str) -> Option<bool> {
        if is_running(pod, container) {
            return Some(true);
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let known = self.lock();
        let has_started = ["containers", "initContainers"].into_iter().any(|field| {
            let key = (uid.to_owned(), format!("spec.{field}{{{container}}}"));
            known.started.contains(&key)
        });
        if has_started { Some(true) } else { known.heard.then_some(false) }
    }
}

/// Whether a pod's status says that a container runs.
fn is_running(pod: &Pod, container: &str) -> bool {
    let Some(status) = &pod.status else { return false };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    all.any(|seen| {
        seen.name == container && seen.state.as_ref().is_some_and(|state| state.running.is_some())
    })
}

#[cfg(test)]
mod tests;
