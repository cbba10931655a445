//! A runtime in memory, for tests and for working on the front end.
//!
//! Containers are entries in a map and programs are scripted by their own words: a small [`shell`] runs
//! tasks, Rust closures are the resource types ([`resource`]). What is real is the way in: every
//! stream speaks the runner's protocol, with journals that survive whoever reads them.
//!
//! Nothing here waits for time. `sleep x` waits until a test calls [`FakeRuntime::release`] with `x`;
//! a front end's developer asks for [`FakeRuntime::timed`], where it sleeps that many seconds.

mod agent;
mod files;
mod process;
pub mod resource;
mod runner;
mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jb_model::{ContainerHandle, VolumeHandle};
use tokio::sync::watch;

use crate::{
    BaseType, ByteStream, ContainerInfo, ContainerSpec, Error, Image, ImageFetch, ImageRequest,
    Link, MountSource, Result, RunnerStream, Runtime,
};
use files::Tree;
use process::Process;
use resource::ResourceType;

/// Bytes on their way between a client and a runner.
const STREAM_BYTES: usize = 256 << 10;

/// One call of the runtime, or one request to a runner, as a [`Hook`] sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `create`, `connect`, `destroy`, `start`, `attach`, `signal`, ...
    pub what: &'static str,
    /// The container or volume.
    pub on: String,
}

/// What shall become of a call.
#[derive(Debug)]
pub enum Fate {
    Done,
    Fails(Error),
    /// It is done and never answered: the caller is about to die.
    Unanswered,
}

/// Decides on every call; for tests of what happens when things go wrong.
pub type Hook = Arc<dyn Fn(&Call) -> Fate + Send + Sync>;

/// How fetching an image goes: lines for the log, and the end.
pub type Images = Arc<dyn Fn(&ImageRequest) -> (Vec<String>, ImageFetch) + Send + Sync>;

/// A runtime in memory. Clones are the same runtime.
#[derive(Clone)]
pub struct FakeRuntime {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    name: String,
    types: BTreeMap<String, ResourceType>,
    /// Sleeps take seconds and do not wait to be released.
    timed: bool,
    state: Mutex<State>,
    /// Counts changes of the state; whoever waits for one looks again.
    changed: watch::Sender<u64>,
    hook: Mutex<Option<Hook>>,
    images: Mutex<Option<Images>>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<ContainerHandle, Container>,
    volumes: BTreeMap<VolumeHandle, Tree>,
    /// Volumes to remove when the last container that uses them goes.
    doomed: BTreeSet<VolumeHandle>,
    released: BTreeSet<String>,
    /// Every process that was ever started, by container and name, in order.
    started: Vec<(ContainerHandle, String)>,
}

struct Container {
    spec: ContainerSpec,
    running: bool,
    /// Streams of earlier numbers are cut.
    epoch: u64,
    /// Files outside of all mounts.
    root: Tree,
    /// Private copies of input volumes, by mount path.
    copies: BTreeMap<String, Tree>,
    processes: BTreeMap<String, Process>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// A runtime with the resource type `mock`.
    pub fn new() -> Self {
        Self::with_types([resource::mock()])
    }

    pub fn with_types(types: impl IntoIterator<Item = ResourceType>) -> Self {
        Self::build("fake", types, false)
    }

    /// One beside others, as a worker of this name.
    pub fn named(name: &str) -> Self {
        Self::build(name, [resource::mock()], false)
    }

    /// A runtime whose programs sleep in real time.
    pub fn timed() -> Self {
        Self::build("fake", [resource::mock()], true)
    }

    fn build(name: &str, types: impl IntoIterator<Item = ResourceType>, timed: bool) -> Self {
        let name = name.to_owned();
        let types = types.into_iter().map(|kind| (kind.base.name.clone(), kind)).collect();
        let (changed, _) = watch::channel(0);
        let state = Mutex::default();
        let (hook, images) = (Mutex::default(), Mutex::default());
        let inner = Inner { name, types, timed, state, changed, hook, images };
        Self { inner: Arc::new(inner) }
    }

    /// Lets every `sleep name` end, those to come too.
    pub fn release(&self, name: &str) {
        self.inner.change(|state| state.released.insert(name.to_owned()));
    }

    /// Asks `hook` about every call from now on.
    pub fn set_hook(&self, hook: Option<Hook>) {
        *self.inner.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Fetches images itself from now on; those that are fetched have a root with nothing in it.
    pub fn set_images(&self, images: Images) {
        *self.inner.images.lock().unwrap_or_else(PoisonError::into_inner) = Some(images);
    }

    /// A container vanishes with its processes, as when its machine is lost.
    pub fn lose(&self, handle: &ContainerHandle) {
        self.inner.change(|state| state.remove(handle));
    }

    /// Breaks every stream to a container's runner, which goes on.
    pub fn cut_streams(&self, handle: &ContainerHandle) {
        self.inner.change(|state| {
            if let Some(container) = state.containers.get_mut(handle) {
                container.epoch += 1;
            }
        });
    }

    /// Every process that was ever started, by container and name, in order.
    pub fn started(&self) -> Vec<(ContainerHandle, String)> {
        self.inner.lock().started.clone()
    }

    /// What a container was asked to be.
    pub fn spec(&self, handle: &ContainerHandle) -> Option<ContainerSpec> {
        self.inner.lock().containers.get(handle).map(|container| container.spec.clone())
    }

    /// Writes a file of a volume, which is made when missing.
    pub fn write_file(&self, volume: &VolumeHandle, path: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        self.inner.change(|state| {
            state.volumes.entry(volume.clone()).or_default().write(path, content);
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until `look` finds what it looks for.
    async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn fate(&self, what: &'static str, on: &str) -> Fate {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hook.map_or(Fate::Done, |hook| hook(&Call { what, on: on.to_owned() }))
    }

    /// Performs a call as its fate has it.
    async fn call<T>(
        &self,
        what: &'static str,
        on: &str,
        act: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        match self.fate(what, on) {
            Fate::Done => self.change(act),
            Fate::Fails(error) => Err(error),
            Fate::Unanswered => {
                let _ = self.change(act);
                std::future::pending().await
            }
        }
    }
}

impl State {
    fn remove(&mut self, handle: &ContainerHandle) {
        self.containers.remove(handle);
        let doomed = std::mem::take(&mut self.doomed);
        let (kept, gone) = doomed.into_iter().partition(|volume| self.is_used(volume));
        self.doomed = kept;
        for volume in gone {
            self.volumes.remove(&volume);
        }
    }

    fn is_used(&self, volume: &VolumeHandle) -> bool {
        self.containers.values().any(|container| {
            let image = matches!(&container.spec.image, Image::Volume(image) if image == volume);
            image
                || container.spec.mounts.iter().any(|mount| match &mount.source {
                    MountSource::Input { volume: input, copy } => {
                        input == volume || copy.as_ref() == Some(volume)
                    }
                    MountSource::Output(used)
                    | MountSource::Cache(used)
                    | MountSource::Link(Link { volume: used, .. }) => used == volume,
                })
        })
    }

    fn create(&mut self, inner: &Inner, spec: &ContainerSpec) -> Result<()> {
        if self.containers.contains_key(&spec.handle) {
            return Ok(());
        }
        let known = |volume: &VolumeHandle| {
            let tree = self.volumes.get(volume);
            tree.ok_or_else(|| Error::NoVolume(volume.clone()))
        };
        match &spec.image {
            Image::Host => {}
            Image::BaseType(name) if inner.types.contains_key(name) => {}
            Image::BaseType(name) => {
                return Err(Error::Image(format!("there is no resource type `{name}` here")));
            }
            Image::Volume(volume) => {
                if !known(volume)?.has_dir("rootfs") {
                    return Err(Error::Image(format!("volume `{volume}` has no rootfs")));
                }
            }
        }
        let mut copies = BTreeMap::new();
        let mut made = Vec::new();
        for mount in &spec.mounts {
            let path = files::absolute(&spec.working_dir, &mount.path);
            match &mount.source {
                MountSource::Input { volume, copy: None } => {
                    copies.insert(path, known(volume)?.clone());
                }
                MountSource::Input { volume, copy: Some(copy) } => {
                    made.push((copy.clone(), known(volume)?.clone()));
                }
                MountSource::Output(volume)
                | MountSource::Cache(volume)
                | MountSource::Link(Link { volume, .. }) => {
                    made.push((volume.clone(), Tree::default()));
                }
            }
        }
        for (volume, tree) in made {
            self.volumes.entry(volume).or_insert(tree);
        }
        let mut root = Tree::default();
        root.make_dir(&spec.working_dir);
        root.write("etc/hostname", format!("{}\n", spec.hostname).into_bytes());
        let container = Container {
            spec: spec.clone(),
            running: true,
            epoch: 0,
            root,
            copies,
            processes: BTreeMap::new(),
        };
        self.containers.insert(spec.handle.clone(), container);
        Ok(())
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn worker_name(&self) -> &str {
        &self.inner.name
    }

    fn runs_agents(&self) -> bool {
        true
    }

    fn base_types(&self) -> Vec<BaseType> {
        self.inner.types.values().map(|kind| kind.base.clone()).collect()
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let inner = &self.inner;
        inner.call("create", spec.handle.as_str(), |state| state.create(inner, spec)).await
    }

    async fn connect(&self, handle: &ContainerHandle) -> Result<Box<dyn RunnerStream>> {
        let act = |state: &mut State| {
            let container = state.containers.get(handle);
            let container = container.ok_or_else(|| Error::NoContainer(handle.clone()))?;
            if !container.running {
                let source = std::io::ErrorKind::ConnectionRefused.into();
                return Err(Error::io(format!("connect to the runner of `{handle}`"), source));
            }
            Ok(container.epoch)
        };
        let epoch = self.inner.call("connect", handle.as_str(), act).await?;
        let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
        tokio::spawn(runner::serve(Arc::clone(&self.inner), handle.clone(), epoch, theirs));
        Ok(Box::new(ours))
    }

    async fn destroy(&self, handle: &ContainerHandle) -> Result<()> {
        let act = |state: &mut State| {
            state.remove(handle);
            Ok(())
        };
        self.inner.call("destroy", handle.as_str(), act).await
    }

    async fn list(&self) -> Result<Vec<ContainerInfo>> {
        let state = self.inner.lock();
        let info = |(handle, container): (&ContainerHandle, &Container)| ContainerInfo {
            handle: handle.clone(),
            running: container.running,
        };
        Ok(state.containers.iter().map(info).collect())
    }

    async fn create_volume(&self, volume: &VolumeHandle) -> Result<()> {
        let act = |state: &mut State| {
            state.volumes.entry(volume.clone()).or_default();
            Ok(())
        };
        self.inner.call("create_volume", volume.as_str(), act).await
    }

    async fn stream_in(&self, volume: &VolumeHandle, path: &str, tar: ByteStream) -> Result<()> {
        let entries = files::unpack(tar).await?;
        let act = |state: &mut State| {
            let tree = state.volumes.get_mut(volume);
            let tree = tree.ok_or_else(|| Error::NoVolume(volume.clone()))?;
            tree.add(path, entries);
            Ok(())
        };
        self.inner.call("stream_in", volume.as_str(), act).await
    }

    async fn stream_out(&self, volume: &VolumeHandle, path: &str) -> Result<ByteStream> {
        let act = |state: &mut State| {
            let tree = state.volumes.get(volume);
            tree.ok_or_else(|| Error::NoVolume(volume.clone()))?.pack(path)
        };
        let archive = self.inner.call("stream_out", volume.as_str(), act).await?;
        Ok(Box::new(std::io::Cursor::new(archive)))
    }

    async fn read_file(
        &self,
        volume: &VolumeHandle,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        let act = |state: &mut State| {
            let tree = state.volumes.get(volume);
            let file = tree.ok_or_else(|| Error::NoVolume(volume.clone()))?.read(path);
            if let Some(file) = file.filter(|file| file.len() > limit) {
                let context = format!(
                    "read {path} of volume `{volume}`: it has {} bytes, more than the {limit} allowed",
                    file.len()
                );
                return Err(Error::io(context, std::io::ErrorKind::FileTooLarge.into()));
            }
            Ok(file.map(<[u8]>::to_vec))
        };
        self.inner.call("read_file", volume.as_str(), act).await
    }

    async fn fetch_image(
        &self,
        volume: &VolumeHandle,
        request: ImageRequest,
        log: tokio::sync::mpsc::Sender<String>,
    ) -> Result<ImageFetch> {
        let images = self.inner.images.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(images) = images else { return Ok(ImageFetch::NotOffered) };
        let (lines, outcome) = images(&request);
        for line in lines {
            // Nobody listens any more.
            log.send(line).await.ok();
        }
        let fetch = |state: &mut State| {
            if matches!(outcome, ImageFetch::Fetched(_)) {
                let tree = state.volumes.entry(volume.clone()).or_default();
                tree.make_dir("rootfs");
            }
            Ok(outcome)
        };
        self.inner.call("fetch_image", volume.as_str(), fetch).await
    }

    async fn list_volumes(&self) -> Result<Vec<VolumeHandle>> {
        let act = |state: &mut State| Ok(state.volumes.keys().cloned().collect());
        self.inner.call("list_volumes", "", act).await
    }

    async fn destroy_volume(&self, volume: &VolumeHandle) -> Result<()> {
        let act = |state: &mut State| {
            if state.is_used(volume) {
                state.doomed.insert(volume.clone());
            } else {
                state.volumes.remove(volume);
            }
            Ok(())
        };
        self.inner.call("destroy_volume", volume.as_str(), act).await
    }
}

#[cfg(test)]
mod tests;
