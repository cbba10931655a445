//! Layers on disk, each unpacked once, for runtimes that stack them.
//!
//! ```text
//! DIR/layers/sha256-<hex>/         whole if it exists:
//!     fs/rootfs/                   the layer's files, with overlayfs whiteouts
//!     implied                      directories that the layer does not describe, if there are any, each ended by NUL
//! DIR/locks/sha256-<hex>.lock      held while a layer is made
//! DIR/partial/                     what is being made
//! ```
//! The directory around the files lets a stack of layers be one with a directory beside `rootfs`, for what is said
//! about the image. In a stack, a directory that a layer merely implies must not hide how a lower layer wants it. Any number of processes may share a store. A process that is killed leaves only parts in
//! `partial`, which whoever next takes the same lock removes, or [`LayerStore::clear_leftovers`]. After a crash of the
//! machine itself, layers that were made in its last seconds may be incomplete: remove the store then, it is only a
//! cache.

use std::any::Any;
use std::ffi::OsStr;
use std::fs;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Error;
use crate::image::Descriptor;
use crate::registry::Registry;
use crate::unpack::{UnpackError, UnpackOptions, Unpacker};

/// The directory of a layer's files within its own.
const FILES: &str = "fs/rootfs";
const IMPLIED: &str = "implied";

/// A directory of layers; clones are the same store.
#[derive(Debug, Clone)]
pub struct LayerStore {
    dir: Arc<PathBuf>,
    options: UnpackOptions,
}

/// Something that must not be let go before a layer is in place or given up.
pub type Keep = Arc<dyn Any + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to {attempted} {path}: {cause}")]
    File { attempted: &'static str, path: String, cause: std::io::Error },
    #[error("failed to unpack layer {digest}: {cause}")]
    Unpack { digest: Digest, cause: UnpackError },
    #[error(transparent)]
    Registry(#[from] Error),
    #[error("storing a layer was interrupted: {0}")]
    Interrupted(String),
}

impl LayerStore {
    /// Opens or creates a store; `options` (with overlay whiteouts for stacking) must be the same for all users.
    pub fn open(dir: impl Into<PathBuf>, options: UnpackOptions) -> Result<Self, StoreError> {
        let store = Self { dir: Arc::new(dir.into()), options };
        store.make_directories()?;
        Ok(store)
    }

    fn make_directories(&self) -> Result<(), StoreError> {
        for part in ["layers", "locks", "partial"] {
            let path = self.dir.join(part);
            fs::create_dir_all(&path).map_err(|cause| file_error("create", &path, cause))?;
        }
        Ok(())
    }

    /// Removes what killed processes left. The caller knows that nobody else uses the store now.
    pub fn clear_leftovers(&self) -> Result<(), StoreError> {
        for part in ["locks", "partial"] {
            remove_tree(&self.dir.join(part))?;
        }
        self.make_directories()
    }

    /// The directory of a layer that is in the store. Its owner may move it away when nothing uses it, and
    /// when nobody can be pulling it.
    pub fn layer(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.layer_dir(&Self::name(digest))).filter(|path| path.is_dir())
    }

    /// Where the layer of a name (see [`LayerStore::name`]) is or would be.
    pub fn layer_dir(&self, name: &str) -> PathBuf {
        self.dir.join("layers").join(name)
    }

    /// A digest as a file name.
    pub fn name(digest: &Digest) -> String {
        format!("{}-{}", digest.algorithm(), digest.hex())
    }

    /// The names of all layers in the store.
    pub fn layers(&self) -> Result<Vec<String>, StoreError> {
        let path = self.dir.join("layers");
        let entries = fs::read_dir(&path).map_err(|cause| file_error("list", &path, cause))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    /// The directories of a layer that it does not describe, parents first.
    pub fn implied(&self, name: &str) -> Result<Vec<PathBuf>, StoreError> {
        let path = self.layer_dir(name).join(IMPLIED);
        match fs::read(&path) {
            Ok(names) => {
                let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
                Ok(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(cause) => Err(file_error("read", &path, cause)),
        }
    }

    /// Makes sure that a layer is in the store; true if it had to be fetched. Others who want the same one
    /// meanwhile, in this or other processes, wait for it. What is dropped half-way leaves nothing, except that a
    /// layer that is being unpacked is finished: `keep` is held for as long.
    pub async fn pull_layer(
        &self,
        registry: &Registry,
        repository: &str,
        layer: &Descriptor,
        keep: Keep,
    ) -> Result<bool, StoreError> {
        if self.layer(&layer.digest).is_some() {
            return Ok(false);
        }
        let (store, digest) = (self.clone(), layer.digest.clone());
        let lock = blocking(move || store.lock(&digest)).await?;
        if self.layer(&layer.digest).is_some() {
            return Ok(false);
        }
        let blob = Partial(self.partial(&layer.digest, "blob"));
        registry.blob_to_file(repository, layer, &blob.0).await?;
        let (store, digest) = (self.clone(), layer.digest.clone());
        blocking(move || {
            // Held until the layer is in place, even if whoever waits for it has given up.
            let _held = (lock, keep);
            store.unpack(&digest, &blob.0)
        })
        .await?;
        Ok(true)
    }

    /// Unpacks a layer from a file on disk; the caller holds its lock.
    fn unpack(&self, digest: &Digest, blob: &Path) -> Result<(), StoreError> {
        let partial = self.partial(digest, "tree");
        let target = self.layer_dir(&Self::name(digest));
        remove_tree(&partial)?;
        let files = partial.join(FILES);
        fs::create_dir_all(&files).map_err(|cause| file_error("create", &files, cause))?;
        for path in [&partial, &partial.join("fs"), &files] {
            set_mode(path, 0o755)?;
        }
        let unpacked = fs::File::open(blob)
            .map_err(|cause| file_error("open", blob, cause))
            .and_then(|file| self.unpack_file(digest, &partial, file));
        if let Err(error) = unpacked {
            let _ = remove_tree(&partial);
            return Err(error);
        }
        fs::rename(&partial, &target).map_err(|cause| file_error("rename", &partial, cause))
    }

    fn unpack_file(&self, digest: &Digest, to: &Path, blob: fs::File) -> Result<(), StoreError> {
        let failed = |cause| StoreError::Unpack { digest: digest.clone(), cause };
        let mut unpacker = Unpacker::new(&to.join(FILES), self.options).map_err(failed)?;
        unpacker.layer(BufReader::new(blob)).map_err(failed)?;
        let implied: Vec<u8> =
            unpacker.implied().flat_map(|name| name.iter().copied().chain([0])).collect();
        if !implied.is_empty() {
            let path = to.join(IMPLIED);
            fs::write(&path, implied).map_err(|cause| file_error("write", &path, cause))?;
        }
        unpacker.finish().map(|_| ()).map_err(failed)
    }

    fn partial(&self, digest: &Digest, extension: &str) -> PathBuf {
        self.dir.join("partial").join(format!("{}.{extension}", Self::name(digest)))
    }

    fn lock(&self, digest: &Digest) -> Result<fs::File, StoreError> {
        let path = self.dir.join("locks").join(format!("{}.lock", Self::name(digest)));
        let file = fs::File::create(&path).map_err(|cause| file_error("create", &path, cause))?;
        file.lock().map_err(|cause| file_error("lock", &path, cause))?;
        Ok(file)
    }
}

/// A file that nobody needs once this is dropped.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(|error| StoreError::Interrupted(error.to_string()))?
}

/// Removes a tree whose directories may forbid it.
fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_directories(path);
            fs::remove_dir_all(path).map_err(|cause| file_error("remove", path, cause))
        }
        Err(cause) => Err(file_error("remove", path, cause)),
    }
}

fn open_directories(path: &Path) {
    let _ = set_mode(path, 0o700);
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_directories(&entry.path());
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).map_err(|cause| file_error("change the mode of", path, cause))
}

fn file_error(attempted: &'static str, path: &Path, cause: std::io::Error) -> StoreError {
    StoreError::File { attempted, path: path.display().to_string(), cause }
}

#[cfg(test)]
mod tests;
