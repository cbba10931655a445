//! The state directory: what containers and volumes there are, found again after a restart.
//!
//! ```text
//! lock                      held by the one server that uses the directory
//! network.json              bridge and subnet
//! containers/<name>/        spec.json, init.json, sock, journal/, runner.log, upper/ …
//! volumes/<name>.json       which directory of data/ a volume is, and those below it
//! data/<id>/fs              content
//! images/                   layers of images (see `jb_oci::LayerStore`), each unpacked once
//! trash/                    being removed
//! hidden                    what names that a container may not see are links to
//! ```
//! A volume is a name for a stack of directories in `data/` and of layers of an image. Directories
//! and layers go when neither a volume nor a container nor a running transfer needs them, so a volume
//! can be destroyed, and a name used again, while a container still has the old content mounted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jb_oci::{LayerStore, UnpackOptions, Whiteouts};
use serde::{Deserialize, Serialize};

use crate::janitor::{Janitor, Remover};
use crate::launch::{Init, Launch};

/// Deeper stacks are copied into one directory, as overlayfs and path lookup slow down with depth.
pub(crate) const MAX_LAYERS: usize = 24;

/// A volume: the directory that takes writes and those it was copied from, topmost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) handle: String,
    pub(crate) data: String,
    pub(crate) lowers: Vec<String>,
}

impl VolumeRecord {
    /// All its directories, topmost first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.data).chain(&self.lowers)
    }
}

/// A container as the server knows it.
#[derive(Clone, Debug)]
pub(crate) struct ContainerRecord {
    pub(crate) launch: Arc<Launch>,
    /// `None` while it is being made.
    pub(crate) init: Option<Init>,
}

#[derive(Default)]
struct Index {
    volumes: BTreeMap<String, VolumeRecord>,
    containers: BTreeMap<String, ContainerRecord>,
    /// Directories in use by transfers and containers in the making.
    pins: HashMap<String, usize>,
}

impl Index {
    fn is_used(&self, id: &str) -> bool {
        self.pins.contains_key(id)
            || self.volumes.values().any(|volume| volume.layers().any(|layer| layer == id))
            || self.containers.values().any(|c| c.launch.data.iter().any(|layer| layer == id))
    }
}

pub(crate) struct Store {
    root: PathBuf,
    layers: LayerStore,
    index: Mutex<Index>,
    next: AtomicU64,
    janitor: Janitor,
    _lock: fs::File,
}

/// Keeps directories of `data/` from being removed.
pub(crate) struct Pin {
    store: Arc<Store>,
    ids: Vec<String>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut index = self.store.index();
        for id in &self.ids {
            if let Some(count) = index.pins.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    index.pins.remove(id);
                }
            }
        }
        drop(index);
        self.store.sweep(&self.ids);
    }
}

/// The file name for a handle: itself when it is a plain name, else a digest of it.
pub(crate) fn file_name(handle: &str) -> String {
    use sha2::{Digest, Sha256};
    let plain = !handle.is_empty()
        && handle.len() <= 100
        && !handle.starts_with(['.', '~'])
        && handle.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if plain {
        return handle.to_owned();
    }
    let digest = Sha256::digest(handle.as_bytes());
    std::iter::once("~".to_owned())
        .chain(digest.iter().take(20).map(|byte| format!("{byte:02x}")))
        .collect()
}

impl Store {
    /// Opens or makes a state directory; fails while another server uses it.
    pub(crate) fn open(root: &Path, remover: Option<Remover>) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let private = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot make `{}`: {error}", path.display()))
            })
        };
        private(root)?;
        let root = root.canonicalize()?;
        for name in ["containers", "volumes", "data", "trash"] {
            private(&root.join(name))?;
        }
        let lock = fs::File::create(root.join("lock"))?;
        if !lock_soon(&lock) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another server uses the state directory `{}`", root.display()),
            ));
        }
        let (index, next) = (Mutex::default(), AtomicU64::new(1));
        let layers = open_layers(&root).map_err(io::Error::other)?;
        let janitor = Janitor::start(remover)?;
        let store = Self { root, layers, index, next, janitor, _lock: lock };
        store.load()?;
        Ok(store)
    }

    fn load(&self) -> io::Result<()> {
        let mut index = self.index();
        for path in entries(&self.root.join("volumes"))? {
            match read_json::<VolumeRecord>(&path) {
                // Layers are a cache, which people may remove.
                Ok(volume) if !volume.layers().all(|id| self.content(id).is_dir()) => {
                    tracing::warn!(
                        volume = volume.handle,
                        "removing a volume that has lost its data"
                    );
                    fs::remove_file(&path)?;
                }
                Ok(volume) => {
                    index.volumes.insert(volume.handle.clone(), volume);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "removing an unreadable volume");
                    fs::remove_file(&path)?;
                }
            }
        }
        let mut next = 1;
        let data = entries(&self.root.join("data"))?;
        let trash = entries(&self.root.join("trash"))?;
        for path in data.iter().chain(&trash) {
            let id = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            next = next.max(u64::from_str_radix(id, 16).unwrap_or(0) + 1);
        }
        self.next.store(next, Ordering::Relaxed);
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn janitor(&self) -> &Janitor {
        &self.janitor
    }

    pub(crate) fn container_dir(&self, handle: &str) -> PathBuf {
        self.root.join("containers").join(file_name(handle))
    }

    /// See [`crate::host_image::make_mark`].
    pub(crate) fn mark(&self) -> PathBuf {
        self.root.join("hidden")
    }

    pub(crate) fn layers(&self) -> &LayerStore {
        &self.layers
    }

    /// Everything that goes together with an id.
    fn directory(&self, id: &str) -> PathBuf {
        if is_layer(id) { self.layers.layer_dir(id) } else { self.root.join("data").join(id) }
    }

    /// The content directory of an id. That of a layer has the image's files in `rootfs`.
    pub(crate) fn content(&self, id: &str) -> PathBuf {
        self.directory(id).join("fs")
    }

    /// Directories of containers on disk, known or not.
    pub(crate) fn container_dirs(&self) -> io::Result<Vec<PathBuf>> {
        entries(&self.root.join("containers"))
    }

    pub(crate) fn container(&self, handle: &str) -> Option<ContainerRecord> {
        self.index().containers.get(handle).cloned()
    }

    pub(crate) fn containers(&self) -> Vec<ContainerRecord> {
        self.index().containers.values().cloned().collect()
    }

    /// Remembers a container; its data is kept until it is forgotten.
    pub(crate) fn remember(&self, launch: Arc<Launch>, init: Option<Init>) {
        let record = ContainerRecord { launch: Arc::clone(&launch), init };
        self.index().containers.insert(launch.handle.clone(), record);
    }

    /// Remembers a new container under an address no other one has, chosen by `choose`.
    pub(crate) fn reserve<E>(
        &self,
        mut launch: Launch,
        choose: impl FnOnce(&BTreeSet<std::net::Ipv4Addr>, &mut Launch) -> Result<(), E>,
    ) -> Result<Arc<Launch>, E> {
        let mut index = self.index();
        let taken = index
            .containers
            .values()
            .filter_map(|container| match &container.launch.network {
                crate::launch::NetworkPlan::Bridge(port) => Some(port.address),
                _ => None,
            })
            .collect();
        choose(&taken, &mut launch)?;
        let launch = Arc::new(launch);
        let record = ContainerRecord { launch: Arc::clone(&launch), init: None };
        index.containers.insert(launch.handle.clone(), record);
        Ok(launch)
    }

    /// Removes a container's directory and what only it needed.
    pub(crate) fn forget_container(&self, handle: &str, dir: &Path) -> io::Result<()> {
        self.discard(dir)?;
        let record = self.index().containers.remove(handle);
        if let Some(record) = record {
            self.sweep(&record.launch.data);
        }
        Ok(())
    }

    pub(crate) fn volume(&self, handle: &str) -> Option<VolumeRecord> {
        self.index().volumes.get(handle).cloned()
    }

    pub(crate) fn volumes(&self) -> Vec<String> {
        self.index().volumes.keys().cloned().collect()
    }

    /// Finds a volume, or makes it as an empty directory over `lowers` (topmost first).
    pub(crate) fn find_or_create_volume(
        &self,
        handle: &str,
        lowers: &[String],
    ) -> io::Result<VolumeRecord> {
        if let Some(found) = self.volume(handle) {
            return Ok(found);
        }
        let data = self.new_data()?;
        let record = VolumeRecord { handle: handle.to_owned(), data, lowers: lowers.to_vec() };
        let mut index = self.index();
        if let Some(found) = index.volumes.get(handle) {
            let found = found.clone();
            drop(index);
            self.discard(&self.root.join("data").join(&record.data))?;
            return Ok(found);
        }
        write_json(&self.volume_path(handle), &record)?;
        index.volumes.insert(handle.to_owned(), record.clone());
        Ok(record)
    }

    /// Points a volume at other directories.
    pub(crate) fn replace_volume(&self, record: VolumeRecord) -> io::Result<()> {
        write_json(&self.volume_path(&record.handle), &record)?;
        let old = self.index().volumes.insert(record.handle.clone(), record);
        if let Some(old) = old {
            self.sweep(&old.layers().cloned().collect::<Vec<_>>());
        }
        Ok(())
    }

    pub(crate) fn destroy_volume(&self, handle: &str) -> io::Result<()> {
        match fs::remove_file(self.volume_path(handle)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let record = self.index().volumes.remove(handle);
        if let Some(record) = record {
            self.sweep(&record.layers().cloned().collect::<Vec<_>>());
        }
        Ok(())
    }

    fn volume_path(&self, handle: &str) -> PathBuf {
        self.root.join("volumes").join(format!("{}.json", file_name(handle)))
    }

    /// A new directory in `data/`.
    pub(crate) fn new_data(&self) -> io::Result<String> {
        let id = format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed));
        let directory = self.root.join("data").join(&id);
        fs::create_dir(&directory)?;
        fs::create_dir(directory.join("fs"))?;
        // Container users who are not root must be able to enter what is mounted.
        set_mode(&directory.join("fs"), 0o755)?;
        Ok(id)
    }

    /// Keeps directories from being removed while the pin lives.
    pub(crate) fn pin(self: &Arc<Self>, ids: impl IntoIterator<Item = String>) -> Pin {
        let ids: Vec<String> = ids.into_iter().collect();
        let mut index = self.index();
        for id in &ids {
            *index.pins.entry(id.clone()).or_insert(0) += 1;
        }
        drop(index);
        Pin { store: Arc::clone(self), ids }
    }

    /// A volume and a pin on it, taken together.
    pub(crate) fn pinned_volume(self: &Arc<Self>, handle: &str) -> Option<(VolumeRecord, Pin)> {
        let mut index = self.index();
        let record = index.volumes.get(handle)?.clone();
        let ids: Vec<String> = record.layers().cloned().collect();
        for id in &ids {
            *index.pins.entry(id.clone()).or_insert(0) += 1;
        }
        drop(index);
        Some((record, Pin { store: Arc::clone(self), ids }))
    }

    /// Removes those of `ids` that nothing needs any more.
    fn sweep(&self, ids: &[String]) {
        // Held until all is moved away: whoever pins a layer afterwards must not find it any more.
        let index = self.index();
        for id in ids.iter().filter(|id| !index.is_used(id)) {
            let directory = self.directory(id);
            if let Err(error) = self.discard(&directory) {
                tracing::warn!(path = %directory.display(), %error, "cannot remove unused data");
            }
        }
    }

    /// Removes what a crash left behind: trash, and data that nothing refers to. For the start,
    /// before new data is made.
    pub(crate) fn sweep_leftovers(&self) -> io::Result<()> {
        let mut ids: Vec<String> = entries(&self.root.join("data"))?
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        ids.extend(self.layers.layers().map_err(io::Error::other)?);
        self.sweep(&ids);
        for path in entries(&self.root.join("trash"))? {
            self.janitor.remove_tree(path);
        }
        Ok(())
    }

    /// Moves a directory out of sight for the janitor; fine when it is gone.
    pub(crate) fn discard(&self, path: &Path) -> io::Result<()> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let trash = self.root.join("trash").join(format!("{id:x}"));
        match fs::rename(path, &trash) {
            Ok(()) => {
                self.janitor.remove_tree(trash);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Layers have digests as ids, directories in `data/` numbers.
fn is_layer(id: &str) -> bool {
    id.contains('-')
}

/// The layers of images, ready to be stacked by overlays.
fn open_layers(root: &Path) -> Result<LayerStore, jb_oci::StoreError> {
    let user = !crate::privilege::is_root();
    let whiteouts = Whiteouts::Overlay { user };
    let options = UnpackOptions { whiteouts, ..UnpackOptions::default() };
    let layers = LayerStore::open(root.join("images"), options)?;
    layers.clear_leftovers()?;
    Ok(layers)
}

/// Locks a file. A server that is just ending, or a process it was just starting, may hold the
/// lock for a moment longer.
fn lock_soon(lock: &fs::File) -> bool {
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    (0..100).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        rustix::fs::flock(lock, operation).is_ok()
    })
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

/// Writes a file whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}
