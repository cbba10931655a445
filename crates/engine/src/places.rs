//! Where containers run: a table of runtimes, each a worker with a name, teams and tags.
//!
//! Rows of containers and volumes name their worker, so a handle leads to its runtime by its row; nothing else is
//! needed after a restart. See `docs/adr/0008-places.md`.

mod absent;
mod copies;
pub mod placement;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jb_model::{BuildId, ContainerHandle, VolumeHandle};
use jb_runtime::{PodInfo, Runtime};

use crate::Engine;

pub use absent::ForgetError;
pub(crate) use copies::Copying;
pub(crate) use steps::has_place;

/// A place where containers run.
pub struct Place {
    pub runtime: Arc<dyn Runtime>,
    /// Whose it is; everybody's when empty.
    pub teams: Vec<String>,
    /// Steps with these tags come here, and only they.
    pub tags: Vec<String>,
    is_stalled: AtomicBool,
}

impl Place {
    pub fn new(runtime: Arc<dyn Runtime>, teams: Vec<String>, tags: Vec<String>) -> Self {
        Self { runtime, teams, tags, is_stalled: AtomicBool::new(false) }
    }

    pub fn name(&self) -> &str {
        self.runtime.worker_name()
    }

    /// Whether it did not answer when it was asked last. It gets no new steps then.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Notes whether it answered; says when that changes.
    pub(crate) fn answered(&self, is_there: bool) {
        let was_stalled = self.is_stalled.swap(!is_there, Ordering::Relaxed);
        if was_stalled == is_there {
            let worker = self.name();
            if is_there {
                tracing::info!(worker, "a worker answers again");
            } else {
                tracing::warn!(worker, "a worker does not answer; it gets no new steps");
            }
        }
    }
}

/// All places of a server, at least one. Cheap to clone.
#[derive(Clone)]
pub struct Places(Arc<[Arc<Place>]>);

/// A place that cannot be used beside the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    #[error("there is no place for containers")]
    None,
    #[error("two places are named `{0}`; give one of them another name")]
    SameName(String),
}

impl From<Arc<dyn Runtime>> for Places {
    /// One place, for everybody and for steps of all tags.
    fn from(runtime: Arc<dyn Runtime>) -> Self {
        Self([Arc::new(Place::new(runtime, Vec::new(), Vec::new()))].into())
    }
}

impl<R: Runtime> From<Arc<R>> for Places {
    fn from(runtime: Arc<R>) -> Self {
        let runtime: Arc<dyn Runtime> = runtime;
        runtime.into()
    }
}

impl Places {
    pub fn new(places: Vec<Place>) -> Result<Self, PlacesError> {
        if places.is_empty() {
            return Err(PlacesError::None);
        }
        for (n, place) in places.iter().enumerate() {
            if places[..n].iter().any(|other| other.name() == place.name()) {
                return Err(PlacesError::SameName(place.name().to_owned()));
            }
        }
        Ok(Self(places.into_iter().map(Arc::new).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.0.iter()
    }

    /// Where what belongs to no step goes: the first that is open to everybody, else the first.
    pub fn first(&self) -> &Arc<Place> {
        let is_open = |place: &&Arc<Place>| place.teams.is_empty() && place.tags.is_empty();
        self.0.iter().find(is_open).unwrap_or(&self.0[0])
    }

    pub fn named(&self, name: &str) -> Option<&Arc<Place>> {
        self.0.iter().find(|place| place.name() == name)
    }

    /// The pods of a build's steps in all places, in the order they were made; none where containers are no pods.
    pub fn pods(&self, build: BuildId) -> Option<Vec<PodInfo>> {
        let pods = self.iter().filter_map(|place| place.runtime.pods(build));
        pods.reduce(|mut all, more| {
            all.extend(more);
            all.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
            all
        })
    }

    /// The only one, where there is nothing to choose.
    pub(crate) fn only(&self) -> Option<&Arc<Place>> {
        match &*self.0 {
            [place] if place.teams.is_empty() && place.tags.is_empty() => Some(place),
            _ => None,
        }
    }

    /// The workers whose rows this server may remove; every worker where the only place has whatever any name made.
    pub(crate) fn workers(&self) -> Vec<Option<&str>> {
        match self.only() {
            Some(only) if !only.runtime.keeps_to_its_name() => vec![None],
            _ => self.iter().map(|place| Some(place.name())).collect(),
        }
    }

    /// The place of a row, or why there is none.
    fn of_row(&self, what: &str, worker: &str) -> jb_runtime::Result<Arc<Place>> {
        self.named(worker).cloned().ok_or_else(|| {
            jb_runtime::Error::Unsupported(format!(
                "{what} is of worker `{worker}`, which this server does not have any more"
            ))
        })
    }
}

fn unreadable(what: String, error: jb_store::Error) -> jb_runtime::Error {
    jb_runtime::Error::Transient {
        context: format!("cannot find the worker of {what}"),
        source: std::io::Error::other(error),
    }
}

impl Engine {
    /// Where a container is.
    pub async fn place_of(&self, handle: &ContainerHandle) -> jb_runtime::Result<Arc<Place>> {
        if let Some(only) = self.places.only() {
            return Ok(only.clone());
        }
        let what = || format!("container `{handle}`");
        let row = self.store.container(handle).await.map_err(|error| unreadable(what(), error))?;
        let row = row.ok_or_else(|| jb_runtime::Error::NoContainer(handle.clone()))?;
        self.places.of_row(&what(), &row.worker)
    }

    /// Where a volume is.
    pub async fn place_of_volume(&self, volume: &VolumeHandle) -> jb_runtime::Result<Arc<Place>> {
        if let Some(only) = self.places.only() {
            return Ok(only.clone());
        }
        let what = || format!("volume `{volume}`");
        let row = self.store.volume(volume).await.map_err(|error| unreadable(what(), error))?;
        let row = row.ok_or_else(|| jb_runtime::Error::NoVolume(volume.clone()))?;
        self.places.of_row(&what(), &row.volume.worker)
    }
}
