//! Layers on disk, each unpacked once, for runtimes that stack them.
//!
//! ```text
//! DIR/layers/sha256-<hex>/         a layer's files, with overlayfs whiteouts; whole if it exists
//! DIR/blobs/sha256-<hex>           manifests and configurations
//! DIR/locks/sha256-<hex>.lock      held while a layer is made or removed
//! DIR/partial/                     what is being made
//! ```
//! Any number of processes may share a store. A process that is killed leaves only parts in `partial`, which whoever
//! next takes the same lock removes. After a crash of the machine itself, layers that were made in its last seconds
//! may be incomplete: remove the store then, it is only a cache.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::digest::Digest;
use crate::error::Error;
use crate::image::{Descriptor, ImageConfig, ManifestKind};
use crate::platform::Platform;
use crate::registry::{RawManifest, Registry};
use crate::unpack::{UnpackError, UnpackOptions, Unpacker};

/// Layers of one image fetched at a time.
const PARALLEL: usize = 3;

/// A directory of layers; clones are the same store.
#[derive(Debug, Clone)]
pub struct LayerStore {
    dir: Arc<PathBuf>,
    options: UnpackOptions,
}

/// An image whose layers are all in the store.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Of the image itself, not of an index it came from.
    pub digest: Digest,
    pub config: ImageConfig,
    /// Directories from the bottom up, as overlayfs wants them reversed.
    pub layers: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to {attempted} {path}: {cause}")]
    File { attempted: &'static str, path: String, cause: std::io::Error },
    #[error("failed to unpack layer {digest}: {cause}")]
    Unpack { digest: Digest, cause: UnpackError },
    #[error(transparent)]
    Registry(#[from] Error),
    #[error("{digest} in the store is damaged: {reason}")]
    Damaged { digest: Digest, reason: String },
    #[error("storing a layer was interrupted: {0}")]
    Interrupted(String),
}

impl LayerStore {
    /// Opens or creates a store; `options` (with overlay whiteouts for stacking) must be the same for all users.
    pub fn open(dir: impl Into<PathBuf>, options: UnpackOptions) -> Result<Self, StoreError> {
        let dir = dir.into();
        for part in ["layers", "blobs", "locks", "partial"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(|cause| file_error("create", &path, cause))?;
        }
        Ok(Self { dir: Arc::new(dir), options })
    }

    /// The directory of a layer that is in the store.
    pub fn layer(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.path("layers", digest)).filter(|path| path.is_dir())
    }

    /// The digests of all layers in the store.
    pub fn layers(&self) -> Result<Vec<Digest>, StoreError> {
        let path = self.dir.join("layers");
        let entries = fs::read_dir(&path).map_err(|cause| file_error("list", &path, cause))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Digest::parse(&name.replacen('-', ":", 1)).ok()).collect())
    }

    /// Removes a layer. The caller knows that nothing is mounted on it.
    pub fn remove_layer(&self, digest: &Digest) -> Result<(), StoreError> {
        let _lock = self.lock(digest)?;
        let path = self.path("layers", digest);
        let doomed = self.path("partial", digest).with_extension("removed");
        match fs::rename(&path, &doomed) {
            Ok(()) => remove_tree(&doomed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(file_error("remove", &path, cause)),
        }
    }

    /// An image that was stored before, found without asking a registry: `digest` is its own, not its index's.
    pub fn image(&self, digest: &Digest) -> Result<Option<StoredImage>, StoreError> {
        let Some(bytes) = self.read_blob(digest)? else { return Ok(None) };
        let damaged = |reason: String| StoreError::Damaged { digest: digest.clone(), reason };
        let ManifestKind::Image(manifest) =
            ManifestKind::parse(&bytes, None).map_err(|error| damaged(error.to_string()))?
        else {
            return Ok(None);
        };
        let Some(config) = self.read_blob(&manifest.config.digest)? else { return Ok(None) };
        let config = serde_json::from_slice(&config).map_err(|error| damaged(error.to_string()))?;
        let layers = manifest
            .layers
            .iter()
            .map(|layer| self.layer(&layer.digest))
            .collect::<Option<Vec<_>>>();
        Ok(layers.map(|layers| StoredImage { digest: digest.clone(), config, layers }))
    }

    /// Fetches what is missing of an image, several layers at a time.
    pub async fn pull(
        &self,
        registry: &Registry,
        repository: &str,
        identifier: &str,
        platform: &Platform,
    ) -> Result<StoredImage, StoreError> {
        if let Ok(digest) = Digest::parse(identifier)
            && let Some(image) = self.image(&digest)?
        {
            return Ok(image);
        }
        let image = registry.image(repository, identifier, platform).await?;
        let permits = Arc::new(Semaphore::new(PARALLEL));
        let mut tasks = JoinSet::new();
        for layer in image.manifest.layers.clone() {
            let (store, registry, permits) = (self.clone(), registry.clone(), permits.clone());
            let repository = repository.to_owned();
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                store.pull_layer(&registry, &repository, &layer).await
            });
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.map_err(|error| StoreError::Interrupted(error.to_string()))??;
        }
        self.write_blob(&image.manifest.config.digest, &image.raw_config)?;
        // Last: whoever finds the manifest finds everything.
        self.write_blob(&image.raw.digest, &image.raw.bytes)?;
        let layers =
            image.manifest.layers.iter().map(|layer| self.path("layers", &layer.digest)).collect();
        Ok(StoredImage { digest: image.raw.digest, config: image.config, layers })
    }

    /// The directory of a layer, which is fetched and unpacked unless it is there. Others who want the same one
    /// meanwhile, in this or other processes, wait for it.
    pub async fn pull_layer(
        &self,
        registry: &Registry,
        repository: &str,
        layer: &Descriptor,
    ) -> Result<PathBuf, StoreError> {
        if let Some(path) = self.layer(&layer.digest) {
            return Ok(path);
        }
        let (store, digest) = (self.clone(), layer.digest.clone());
        let lock = blocking(move || store.lock(&digest)).await?;
        if let Some(path) = self.layer(&layer.digest) {
            return Ok(path);
        }
        let blob = self.path("partial", &layer.digest).with_extension("blob");
        registry.blob_to_file(repository, layer, &blob).await?;
        let (store, digest) = (self.clone(), layer.digest.clone());
        blocking(move || {
            // Held until the layer is in place, even if whoever waits for it has given up.
            let _lock = lock;
            let outcome = store.unpack(&digest, &blob);
            let _ = fs::remove_file(&blob);
            outcome
        })
        .await
    }

    /// Unpacks a layer from a file on disk, such as one of an image archive.
    pub fn add_layer(&self, digest: &Digest, blob: &Path) -> Result<PathBuf, StoreError> {
        if let Some(path) = self.layer(digest) {
            return Ok(path);
        }
        let _lock = self.lock(digest)?;
        if let Some(path) = self.layer(digest) {
            return Ok(path);
        }
        self.unpack(digest, blob)
    }

    /// Keeps a manifest and its configuration, so that [`LayerStore::image`] finds the image.
    pub fn add_image(
        &self,
        raw: &RawManifest,
        config: &Digest,
        raw_config: &[u8],
    ) -> Result<(), StoreError> {
        self.write_blob(config, raw_config)?;
        self.write_blob(&raw.digest, &raw.bytes)
    }

    fn unpack(&self, digest: &Digest, blob: &Path) -> Result<PathBuf, StoreError> {
        let partial = self.path("partial", digest).with_extension("tree");
        let target = self.path("layers", digest);
        remove_tree(&partial)?;
        fs::create_dir(&partial).map_err(|cause| file_error("create", &partial, cause))?;
        set_mode(&partial, 0o755)?;
        let unpacked = fs::File::open(blob)
            .map_err(|cause| file_error("open", blob, cause))
            .and_then(|file| self.unpack_file(digest, &partial, file));
        if let Err(error) = unpacked {
            let _ = remove_tree(&partial);
            return Err(error);
        }
        fs::rename(&partial, &target).map_err(|cause| file_error("rename", &partial, cause))?;
        Ok(target)
    }

    fn unpack_file(&self, digest: &Digest, to: &Path, blob: fs::File) -> Result<(), StoreError> {
        let failed = |cause| StoreError::Unpack { digest: digest.clone(), cause };
        let mut unpacker = Unpacker::new(to, self.options).map_err(failed)?;
        unpacker.layer(BufReader::new(blob)).map_err(failed)?;
        unpacker.finish().map(|_| ()).map_err(failed)
    }

    fn path(&self, part: &str, digest: &Digest) -> PathBuf {
        self.dir.join(part).join(format!("{}-{}", digest.algorithm(), digest.hex()))
    }

    fn lock(&self, digest: &Digest) -> Result<fs::File, StoreError> {
        let path = self.path("locks", digest).with_extension("lock");
        let file = fs::File::create(&path).map_err(|cause| file_error("create", &path, cause))?;
        file.lock().map_err(|cause| file_error("lock", &path, cause))?;
        Ok(file)
    }

    fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path("blobs", digest);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(file_error("read", &path, cause)),
        }
    }

    fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let _lock = self.lock(digest)?;
        let (partial, path) = (self.path("partial", digest), self.path("blobs", digest));
        fs::write(&partial, bytes).map_err(|cause| file_error("write", &partial, cause))?;
        fs::rename(&partial, &path).map_err(|cause| file_error("rename", &partial, cause))
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
