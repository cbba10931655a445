//! The runtime port on this machine.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::{
    BaseType, ByteStream, ContainerInfo, ContainerSpec, Error, ImageFetch, ImageRequest, Result,
    RunnerStream, Runtime,
};

use crate::cgroup::Cgroups;
use crate::host_image::Change;
use crate::launch::{IdMaps, Launch, NetworkPlan};
use crate::network::{Bridge, Uplink};
use crate::probe::Report;
use crate::settings::Settings;
use crate::store::{Pin, Store, VolumeRecord};
use jb_archive::merged::MergedDir;

mod create;
mod image;

/// Containers on this machine. Cheap to clone; all clones are one runtime.
#[derive(Clone)]
pub struct LocalRuntime {
    inner: Arc<Inner>,
}

/// Operations on one container exclude each other; those on others rarely.
const STRIPES: usize = 64;

struct Inner {
    settings: Settings,
    store: Arc<Store>,
    cgroups: Cgroups,
    uplink: Uplink,
    ids: Option<IdMaps>,
    /// Hides private files of the host.
    mask: Vec<Change>,
    /// Built-in resource types; an explanation when their program is missing.
    base: std::result::Result<String, String>,
    _pins: Pin,
    stripes: [Mutex<()>; STRIPES],
    /// Copying a stack of directories into one happens once at a time.
    flatten: Mutex<()>,
    last_address: AtomicU32,
}

impl LocalRuntime {
    /// Opens the state directory, finds the containers in it again and clears away what a crash
    /// left half made. Blocks for some milliseconds.
    pub fn new(settings: Settings) -> Result<Self> {
        let state = settings.state_dir.clone();
        let context = || format!("cannot use the state directory `{}`", state.display());
        let ids = (!crate::privilege::is_root()).then(crate::userns::id_maps);
        let remover = ids.clone().map(|maps| create::remover(settings.shim.clone(), maps));
        let store = Store::open(&settings.state_dir, remover)
            .map_err(|error| Error::io(context(), error))?;
        let store = Arc::new(store);
        create::adopt(&store).map_err(|error| Error::io(context(), error))?;
        store.sweep_leftovers().map_err(|error| Error::io(context(), error))?;

        let hidden = [Some(store.root().to_owned()), std::env::var_os("HOME").map(Into::into)];
        let hidden: Vec<_> = hidden.into_iter().flatten().collect();
        let mask = crate::host_image::mask(Path::new("/"), &hidden)
            .and_then(|mask| crate::host_image::make_mark(&store.mark()).map(|()| mask))
            .map_err(|error| Error::io("cannot prepare the host's file system as image", error))?;
        let base = store.new_data().map_err(|error| Error::io(context(), error))?;
        let pins = store.pin([base.clone()]);
        let program = &settings.resource_types;
        let base =
            crate::base::make(&store.content(&base), program).map(|()| base).map_err(|error| {
                format!(
                    "the built-in resource types cannot be used: `{}`: {error}",
                    program.display()
                )
            });

        let name = crate::network::group_name(store.root());
        let uplink = crate::network::set_up(store.root(), settings.network_pool);
        if let Uplink::Shared(why) = &uplink {
            tracing::warn!(
                "containers share the host's network, as they cannot have one of their own: {why}"
            );
        }
        Ok(Self {
            inner: Arc::new(Inner {
                cgroups: Cgroups::detect(&name),
                uplink,
                ids,
                mask,
                base,
                _pins: pins,
                stripes: std::array::from_fn(|_| Mutex::default()),
                flatten: Mutex::default(),
                last_address: AtomicU32::new(0),
                settings,
                store,
            }),
        })
    }

    /// What this machine offers to containers. Blocks for some milliseconds.
    pub fn probe(state_dir: &Path) -> Report {
        crate::probe::probe(state_dir)
    }

    /// The address under which containers reach this machine, also named
    /// `host.jetbridge.internal` inside them.
    pub fn host_gateway(&self) -> IpAddr {
        match &self.inner.uplink {
            Uplink::Bridge(bridge) => bridge.gateway().into(),
            Uplink::Shared(_) => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Destroys every container and gives the bridge, its rules and the control groups back to
    /// the system. Volumes stay. For removing a server from a machine; blocks.
    pub fn release(&self) -> Result<()> {
        for container in self.inner.store.containers() {
            self.inner.destroy(&ContainerHandle::new(container.launch.handle.clone()))?;
        }
        self.inner.store.janitor().finish();
        if let Uplink::Bridge(bridge) = &self.inner.uplink {
            bridge.tear_down().map_err(|error| Error::io("cannot remove the bridge", error))?;
        }
        for parent in self.inner.cgroups.parents() {
            match std::fs::remove_dir(&parent) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("cannot remove `{}`", parent.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs blocking work of the runtime where it does not hold up others.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| Error::io("the local runtime failed", io::Error::other(error)))?
    }
}

impl Inner {
    fn lock(&self, handle: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        handle.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bridge(&self) -> Option<&Bridge> {
        match &self.uplink {
            Uplink::Bridge(bridge) => Some(bridge),
            Uplink::Shared(_) => None,
        }
    }

    fn destroy(&self, handle: &ContainerHandle) -> Result<()> {
        let _lock = self.lock(handle.as_str());
        let Some(record) = self.store.container(handle.as_str()) else { return Ok(()) };
        let context = || format!("cannot destroy container `{handle}`");
        if let Some(init) = &record.init {
            crate::process::kill(init).map_err(|error| Error::io(context(), error))?;
        }
        create::clean_up(&self.store, &record.launch).map_err(|error| Error::io(context(), error))
    }

    fn pinned(&self, handle: &VolumeHandle) -> Result<(VolumeRecord, Pin)> {
        let found = self.store.pinned_volume(handle.as_str());
        found.ok_or_else(|| Error::NoVolume(handle.clone()))
    }

    fn merged(&self, record: &VolumeRecord) -> io::Result<MergedDir> {
        let layers: Vec<_> = record.layers().map(|id| self.store.content(id)).collect();
        MergedDir::open(&layers)
    }

    /// Makes sure that a volume is one directory, which archives can be extracted into.
    fn flattened(&self, handle: &VolumeHandle) -> Result<(VolumeRecord, Pin)> {
        let (record, pin) = self.pinned(handle)?;
        if record.lowers.is_empty() {
            return Ok((record, pin));
        }
        let _lock = self.flatten.lock().unwrap_or_else(PoisonError::into_inner);
        let (record, _pin) = self.pinned(handle)?;
        if record.lowers.is_empty() {
            return self.pinned(handle);
        }
        let context = || format!("cannot copy volume `{handle}`");
        let copy = || -> io::Result<()> {
            let data = self.store.new_data()?;
            let _pin = self.store.pin([data.clone()]);
            crate::transfer::flatten(self.merged(&record)?, &self.store.content(&data))?;
            let handle = record.handle.clone();
            self.store.replace_volume(VolumeRecord { handle, data, lowers: Vec::new() })
        };
        copy().map_err(|error| Error::io(context(), error))?;
        self.pinned(handle)
    }

    fn next_address(
        &self,
        bridge: &Bridge,
        launch: &mut Launch,
        taken: &std::collections::BTreeSet<Ipv4Addr>,
    ) -> Result<()> {
        let last = self.last_address.fetch_add(1, Ordering::Relaxed);
        let address =
            crate::network::choose_address(bridge.subnet, taken, last).ok_or_else(|| {
                Error::Transient {
                    context: format!("every address of {} is taken by a container", bridge.subnet),
                    source: io::ErrorKind::AddrInUse.into(),
                }
            })?;
        launch.network = NetworkPlan::Bridge(bridge.port(&launch.handle, address));
        let host = Some(bridge.gateway().into());
        launch.files.hosts = crate::network::hosts(&launch.hostname, Some(address), host);
        Ok(())
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    fn worker_name(&self) -> &str {
        &self.inner.settings.worker_name
    }

    fn base_types(&self) -> Vec<BaseType> {
        if self.inner.base.is_ok() { crate::base::types() } else { Vec::new() }
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let spec = spec.clone();
        self.blocking(move |inner| inner.create(&spec)).await
    }

    async fn connect(&self, handle: &ContainerHandle) -> Result<Box<dyn RunnerStream>> {
        let context = || format!("cannot connect to the runner of container `{handle}`");
        let record = self.inner.store.container(handle.as_str());
        let record = record.ok_or_else(|| Error::NoContainer(handle.clone()))?;
        let Some(init) = record.init.filter(crate::process::is_alive) else {
            let ended = io::Error::new(io::ErrorKind::ConnectionRefused, "its runner has ended");
            return Err(Error::io(context(), ended));
        };
        let flags =
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        // Socket addresses have room for 107 bytes, paths of state directories may be longer.
        let dir = rustix::fs::open(&record.launch.dir, flags, rustix::fs::Mode::empty())
            .map_err(|error| Error::io(context(), error.into()))?;
        let path = format!("/proc/self/fd/{}/sock", dir.as_raw_fd());
        match tokio::net::UnixStream::connect(path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if crate::process::is_alive(&init) => {
                Err(Error::Transient { context: context(), source: error })
            }
            Err(error) => Err(Error::io(context(), error)),
        }
    }

    async fn destroy(&self, handle: &ContainerHandle) -> Result<()> {
        let handle = handle.clone();
        self.blocking(move |inner| inner.destroy(&handle)).await
    }

    async fn list(&self) -> Result<Vec<ContainerInfo>> {
        self.blocking(|inner| {
            let containers = inner.store.containers().into_iter();
            Ok(containers
                .filter_map(|container| {
                    let running = crate::process::is_alive(&container.init?);
                    let handle = ContainerHandle::new(container.launch.handle.clone());
                    Some(ContainerInfo { handle, running })
                })
                .collect())
        })
        .await
    }

    async fn create_volume(&self, volume: &VolumeHandle) -> Result<()> {
        let volume = volume.clone();
        self.blocking(move |inner| {
            let made = inner.store.find_or_create_volume(volume.as_str(), &[]);
            made.map(drop)
                .map_err(|error| Error::io(format!("cannot make volume `{volume}`"), error))
        })
        .await
    }

    async fn stream_in(&self, volume: &VolumeHandle, path: &str, tar: ByteStream) -> Result<()> {
        let handle = volume.clone();
        let (content, _pin) = self
            .blocking(move |inner| {
                let (record, pin) = inner.flattened(&handle)?;
                Ok((inner.store.content(&record.data), pin))
            })
            .await?;
        let max = self.inner.settings.max_archive_bytes;
        crate::transfer::stream_in(content, path.to_owned(), tar, max).await.map_err(|error| {
            Error::io(
                format!("cannot extract an archive into `{path}` of volume `{volume}`"),
                error,
            )
        })
    }

    async fn stream_out(&self, volume: &VolumeHandle, path: &str) -> Result<ByteStream> {
        let (handle, path) = (volume.clone(), path.to_owned());
        let context = format!("cannot read `{path}` of volume `{volume}`");
        let explain = context.clone();
        let (node, pin) = self
            .blocking(move |inner| {
                let (record, pin) = inner.pinned(&handle)?;
                let merged = inner.merged(&record);
                let found = merged.and_then(|merged| merged.resolve(Path::new(&path)));
                match found.map_err(|error| Error::io(context.clone(), error))? {
                    Some(node) => Ok((node, pin)),
                    None => Err(Error::io(context, io::ErrorKind::NotFound.into())),
                }
            })
            .await?;
        crate::transfer::stream_out(node, pin).map_err(|error| Error::io(explain, error))
    }

    async fn read_file(
        &self,
        volume: &VolumeHandle,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        let (handle, path) = (volume.clone(), path.to_owned());
        self.blocking(move |inner| {
            let (record, _pin) = inner.pinned(&handle)?;
            let merged = inner.merged(&record);
            merged
                .and_then(|merged| jb_archive::pack::read_file(&merged, Path::new(&path), limit))
                .map_err(|error| {
                    Error::io(format!("cannot read file `{path}` of volume `{handle}`"), error)
                })
        })
        .await
    }

    async fn fetch_image(
        &self,
        volume: &VolumeHandle,
        request: ImageRequest,
        log: tokio::sync::mpsc::Sender<String>,
    ) -> Result<ImageFetch> {
        image::fetch(self, volume, request, log).await
    }

    async fn list_volumes(&self) -> Result<Vec<VolumeHandle>> {
        Ok(self.inner.store.volumes().into_iter().map(VolumeHandle::new).collect())
    }

    async fn destroy_volume(&self, volume: &VolumeHandle) -> Result<()> {
        let volume = volume.clone();
        self.blocking(move |inner| {
            let destroyed = inner.store.destroy_volume(volume.as_str());
            destroyed.map_err(|error| Error::io(format!("cannot destroy volume `{volume}`"), error))
        })
        .await
    }
}
