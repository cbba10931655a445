//! Checks as processes of long-lived pods: which pods there are, and which checks are in them.

pub(crate) mod member;
pub(crate) mod mux;
pub(crate) mod pool;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jb_model::ContainerHandle;
use tokio::sync::{Notify, OnceCell};

use crate::settings::CheckPods;
use member::Member;
use mux::Mux;
use pool::{Choice, Seen};

/// What is shared by all that use one pod.
#[derive(Default)]
pub(crate) struct Line {
    /// Set once the pod's runner answered.
    pub(crate) started: OnceCell<()>,
    /// The connection to its runner, made anew when it breaks.
    pub(crate) mux: tokio::sync::Mutex<Option<Mux>>,
    /// The places whose directories were made.
    pub(crate) furnished: tokio::sync::Mutex<BTreeSet<u32>>,
}

struct CheckPod {
    key: String,
    own: bool,
    made: Instant,
    used: Instant,
    n_begun: u32,
    /// The places of sources.
    sources: BTreeMap<String, u32>,
    members: BTreeMap<ContainerHandle, Member>,
    line: Arc<Line>,
}

#[derive(Default)]
struct State {
    /// By the handles that the pods have themselves.
    pods: BTreeMap<String, CheckPod>,
    of: HashMap<ContainerHandle, String>,
    n_made: u64,
}

/// A check's place, and how to get there.
#[derive(Clone)]
pub(crate) struct Place {
    /// The handle of the pod itself.
    pub(crate) pod: ContainerHandle,
    pub(crate) member: Member,
    /// Of its source; none for checks that another server began.
    pub(crate) number: Option<u32>,
    pub(crate) line: Arc<Line>,
}

/// A check that asks for a place.
pub(crate) struct Newcomer<'a> {
    pub(crate) handle: &'a ContainerHandle,
    pub(crate) key: &'a str,
    pub(crate) source: &'a str,
}

/// What came of it.
pub(crate) enum Seated {
    At(Place),
    /// This pod is to be deleted before.
    After(ContainerHandle),
    Wait,
}

/// What this server knows of pods of checks. Everything in it can be found again.
pub(crate) struct Checks {
    bounds: CheckPods,
    /// Tells the pods of this server from those of others.
    server: String,
    state: Mutex<State>,
    /// Told when a place may have become free.
    pub(crate) freed: Notify,
    /// Held while pods of other servers are looked into.
    pub(crate) adopting: tokio::sync::Mutex<()>,
}

impl Checks {
    pub(crate) fn new(bounds: CheckPods, server: String) -> Self {
        let (state, freed, adopting) = Default::default();
        Self { bounds, server, state, freed, adopting }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, handle: &ContainerHandle) -> Option<Place> {
        let state = self.lock();
        let pod = state.of.get(handle)?;
        let known = state.pods.get(pod)?;
        Some(known.place(pod, known.members.get(handle)?.clone(), None))
    }

    /// Gives a check a place in a pod, which need not be there yet. `member` says who it is at a place.
    pub(crate) fn seat(
        &self,
        newcomer: &Newcomer<'_>,
        now: Instant,
        member: impl Fn(u32) -> Member,
    ) -> Seated {
        let state = &mut *self.lock();
        let seen: Vec<Seen<'_>> =
            state.pods.iter().map(|(name, pod)| pod.seen(name, newcomer.source)).collect();
        let name = match pool::choose(&seen, newcomer.key, now, &self.bounds) {
            Choice::Use(name) => name,
            Choice::Make { instead_of: Some(other) } => {
                return Seated::After(ContainerHandle::new(other));
            }
            Choice::Wait => return Seated::Wait,
            Choice::Make { instead_of: None } => {
                state.n_made += 1;
                let name = format!("checks-{}-{}-{}", newcomer.key, self.server, state.n_made);
                let pod = CheckPod::new(newcomer.key.to_owned(), true, now);
                state.pods.insert(name.clone(), pod);
                name
            }
        };
        let Some(pod) = state.pods.get_mut(&name) else { return Seated::Wait };
        let next = u32::try_from(pod.sources.len()).unwrap_or(u32::MAX);
        let number = *pod.sources.entry(newcomer.source.to_owned()).or_insert(next);
        let member = member(number);
        pod.members.insert(newcomer.handle.clone(), member.clone());
        pod.n_begun += 1;
        pod.used = now;
        state.of.insert(newcomer.handle.clone(), name.clone());
        Seated::At(pod.place(&name, member, Some(number)))
    }

    /// Takes in a pod that this server did not make, with the checks found in it.
    pub(crate) fn adopt(&self, pod: &ContainerHandle, key: &str, made: Instant, now: Instant) {
        let mut state = self.lock();
        let mut adopted = CheckPod::new(key.to_owned(), false, made);
        adopted.used = now;
        adopted.line = Arc::new(Line { started: OnceCell::new_with(Some(())), ..Line::default() });
        state.pods.entry(pod.to_string()).or_insert(adopted);
    }

    pub(crate) fn found(
        &self,
        pod: &ContainerHandle,
        members: impl IntoIterator<Item = (ContainerHandle, Member)>,
    ) {
        let state = &mut *self.lock();
        let Some(known) = state.pods.get_mut(pod.as_str()) else { return };
        for (handle, member) in members {
            state.of.insert(handle.clone(), pod.to_string());
            known.members.entry(handle).or_insert(member);
        }
    }

    pub(crate) fn knows(&self, pod: &ContainerHandle) -> bool {
        self.lock().pods.contains_key(pod.as_str())
    }

    /// The way to a pod itself, for looking at all its processes.
    pub(crate) fn whole(&self, pod: &ContainerHandle) -> Option<Place> {
        self.lock()
            .pods
            .get(pod.as_str())
            .map(|known| known.place(pod.as_str(), Member::default(), None))
    }

    /// Forgets a check.
    pub(crate) fn remove(&self, handle: &ContainerHandle, now: Instant) {
        let mut state = self.lock();
        if let Some(pod) = state.of.remove(handle)
            && let Some(known) = state.pods.get_mut(&pod)
        {
            known.members.remove(handle);
            known.used = now;
        }
        drop(state);
        self.freed.notify_waiters();
    }

    /// Forgets a pod and its checks.
    pub(crate) fn remove_pod(&self, pod: &ContainerHandle) {
        let mut state = self.lock();
        state.pods.remove(pod.as_str());
        state.of.retain(|_, of| of != pod.as_str());
        drop(state);
        self.freed.notify_waiters();
    }

    pub(crate) fn handles(&self) -> Vec<ContainerHandle> {
        self.lock().of.keys().cloned().collect()
    }

    /// The pods to delete, and whether they are this server's. From then on no check gets a place in its own.
    pub(crate) fn retire(&self, now: Instant) -> Vec<(ContainerHandle, bool)> {
        let mut state = self.lock();
        let seen: Vec<Seen<'_>> = state.pods.iter().map(|(name, pod)| pod.seen(name, "")).collect();
        let retired = pool::retired(&seen, now, &self.bounds);
        let retired = retired.into_iter().filter_map(|name| {
            let own = state.pods.get(&name)?.own;
            if own {
                state.pods.remove(&name);
            }
            Some((ContainerHandle::new(name), own))
        });
        retired.collect()
    }

    /// Takes out a pod that is to make room, unless a check came into it meanwhile.
    pub(crate) fn vacate(&self, pod: &ContainerHandle) -> bool {
        let mut state = self.lock();
        let empty = state.pods.get(pod.as_str()).is_some_and(|pod| pod.members.is_empty());
        if empty {
            state.pods.remove(pod.as_str());
        }
        empty
    }

    /// This server's pods that ran once.
    pub(crate) fn started(&self) -> Vec<ContainerHandle> {
        let state = self.lock();
        let started = state.pods.iter().filter(|(_, pod)| pod.line.started.initialized());
        started.map(|(name, _)| ContainerHandle::new(name.clone())).collect()
    }
}

impl CheckPod {
    fn new(key: String, own: bool, made: Instant) -> Self {
        let (n_begun, sources, members, line) = Default::default();
        Self { key, own, made, used: made, n_begun, sources, members, line }
    }

    fn place(&self, name: &str, member: Member, number: Option<u32>) -> Place {
        let pod = ContainerHandle::new(name);
        Place { pod, member, number, line: Arc::clone(&self.line) }
    }

    fn seen<'a>(&'a self, name: &'a str, source: &str) -> Seen<'a> {
        Seen {
            name,
            key: &self.key,
            made: self.made,
            used: self.used,
            n_begun: self.n_begun,
            n_running: self.members.len(),
            n_sources: u32::try_from(self.sources.len()).unwrap_or(u32::MAX),
            knows_source: self.sources.contains_key(source),
            own: self.own,
        }
    }
}

#[cfg(test)]
mod tests;
