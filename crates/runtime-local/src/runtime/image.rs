//! Images from a registry as volumes: a directory of what is said about the image, over its layers, each of which is
//! unpacked once for all images that have it.
//!
//! A registry is asked for the manifest every time, so that whoever may not read an image does not get it from here.
//! Layers that are here already are not asked for.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use jb_model::script::Level;
use jb_model::{Metadata, Value, VolumeHandle};
use jb_oci::resource::{Format, Place, ScriptLog, Wanted, labels_json, metadata_json, places};
use jb_oci::{Descriptor, Image, LayerStore, Registry, StoreError};
use jb_runtime::{ImageFetch, ImageRequest, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Inner, LocalRuntime};
use crate::store::{Pin, VolumeRecord};
use jb_archive::merged::{MergedDir, Node};

mod implied;

/// Layers of one image fetched at a time.
const PARALLEL: usize = 3;
/// Overlays have room for more, but every directory that is read takes a descriptor per layer.
const MAX_IMAGE_LAYERS: usize = 128;

/// Why an image could not be fetched, in words for its log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Registry(#[from] jb_oci::Error),
    #[error(transparent)]
    Layer(#[from] StoreError),
    #[error("failed to keep the image: {0}")]
    Keep(io::Error),
    #[error("its layers write through links of lower ones")]
    NotStackable,
}

pub(super) async fn fetch(
    runtime: &LocalRuntime,
    volume: &VolumeHandle,
    request: ImageRequest,
    lines: mpsc::Sender<String>,
) -> Result<ImageFetch> {
    let (source, params) = (Value::Object(request.source), Value::Object(request.params));
    let version: Value = request.version.into_iter().collect();
    let log = ScriptLog::new(lines);
    let wanted = match Wanted::parse(&source, &params, &version) {
        Ok(wanted) => wanted,
        // The script says what is wrong with it.
        Err(_) => return Ok(ImageFetch::NotOffered),
    };
    let mapped = runtime.inner.ids.as_ref().is_some_and(|ids| ids.helpers);
    if mapped || wanted.request.format != Format::Rootfs || wanted.request.skip_download {
        return Ok(ImageFetch::NotOffered);
    }
    wanted.say_unknown_keys(&log).await;
    for place in places(&wanted.source) {
        match pulled(&wanted, &place, runtime, volume, &log).await {
            Ok(image) => {
                let fields = wanted.request.metadata(&wanted.source, Some(&image)).into_iter();
                let metadata = fields.map(|(name, value)| Metadata { name, value });
                return Ok(ImageFetch::Fetched(metadata.collect()));
            }
            Err(error @ Failure::NotStackable) => {
                log.say(Level::Info, format!("fetching it unpacked in one: {error}")).await;
                return Ok(ImageFetch::NotOffered);
            }
            Err(error) if place.is_mirror => {
                let name = place.name();
                log.say(Level::Warn, format!("download from mirror {name} failed: {error}")).await;
            }
            Err(error) => log.say(Level::Fatal, format!("download failed: {error}")).await,
        }
    }
    Ok(ImageFetch::Failed)
}

async fn pulled(
    wanted: &Wanted,
    place: &Place,
    runtime: &LocalRuntime,
    volume: &VolumeHandle,
    log: &ScriptLog,
) -> Result<Image, Failure> {
    let (repository, digest) = (place.repository.as_str(), &wanted.request.digest);
    log.say(Level::Info, format!("fetching {}@{digest}", wanted.source.repository)).await;
    let registry = place.connect(&wanted.source, log.on_retry()).await?;
    let platform = &wanted.request.platform;
    let image = registry.image(repository, digest.as_str(), platform).await?;
    let layers = topmost_first(&image.manifest.layers);
    if layers.len() > MAX_IMAGE_LAYERS {
        let reason = format!("it has more than {MAX_IMAGE_LAYERS} layers");
        return Err(Failure::Keep(io::Error::other(reason)));
    }
    let ids: Vec<String> = layers.iter().map(|layer| LayerStore::name(&layer.digest)).collect();
    // Before looking which of them are here, so that none of those goes meanwhile.
    let pin = Arc::new(runtime.inner.store.pin(ids.iter().cloned()));
    pull(&runtime.inner, &registry, repository, &layers, &pin, log).await?;
    let mut files: Vec<(&str, String)> = wanted.request.files(&wanted.source).into();
    files.push(("labels.json", labels_json(&image.config)));
    files.push(("metadata.json", metadata_json(&image.config)));
    let (inner, volume) = (Arc::clone(&runtime.inner), volume.clone());
    let kept = tokio::task::spawn_blocking(move || {
        let _pin = pin;
        keep(&inner, &volume, &files, ids)
    });
    if !kept.await.map_err(io::Error::other).flatten().map_err(Failure::Keep)? {
        return Err(Failure::NotStackable);
    }
    Ok(image)
}

/// The layers as overlays want them. One that occurs again is needed only where it is topmost: all it makes and hides
/// further down, it makes and hides there too.
fn topmost_first(layers: &[Descriptor]) -> Vec<Descriptor> {
    let mut seen = BTreeSet::new();
    let wanted = layers.iter().rev().filter(|layer| seen.insert(layer.digest.to_string()));
    wanted.cloned().collect()
}

/// Fetches what is missing, the lowest layers first.
async fn pull(
    inner: &Inner,
    registry: &Registry,
    repository: &str,
    layers: &[Descriptor],
    pin: &Arc<Pin>,
    log: &ScriptLog,
) -> Result<(), Failure> {
    let permits = Arc::new(Semaphore::new(PARALLEL));
    // Dropped with everything in it when nobody waits any more.
    let mut tasks = JoinSet::new();
    for layer in layers.iter().rev().cloned() {
        let (store, registry) = (inner.store.layers().clone(), registry.clone());
        let (repository, keep) = (repository.to_owned(), Arc::clone(pin));
        let (permits, log) = (Arc::clone(&permits), log.clone());
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            let fetched = store.pull_layer(&registry, &repository, &layer, keep).await?;
            let size = layer.size as f64 / f64::from(1 << 20);
            let found = if fetched { "" } else { ", found here" };
            let name = layer.digest.short();
            log.say(Level::Info, format!("layer {name} ({size:.1} MiB{found})")).await;
            Ok::<(), StoreError>(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        let outcome = outcome.map_err(|error| StoreError::Interrupted(error.to_string()));
        if let Err(error) = outcome.flatten() {
            // The others have no more to say after why it failed.
            tasks.shutdown().await;
            return Err(error.into());
        }
    }
    Ok(())
}

/// Makes the volume, whole or not at all, in place of what it may have been. False when these layers do not make the
/// image if they are stacked.
fn keep(
    inner: &Inner,
    volume: &VolumeHandle,
    files: &[(&str, String)],
    layers: Vec<String>,
) -> io::Result<bool> {
    let store = &inner.store;
    let data = store.new_data()?;
    let _pin = store.pin([data.clone()]);
    let content = store.content(&data);
    for (name, text) in files {
        let path = content.join(name);
        std::fs::write(&path, text)?;
        crate::store::set_mode(&path, 0o644)?;
    }
    let lowers = visible(inner, layers)?;
    let root = content.join("rootfs");
    if lowers.is_empty() {
        std::fs::create_dir(&root)?;
        crate::store::set_mode(&root, 0o755)?;
    } else if let Some(image) = rootfs(inner, &lowers)? {
        let implied = implied::find(inner, &lowers)?;
        if implied.contradicts(inner, &lowers)? {
            return Ok(false);
        }
        implied.describe(&image, &root)?;
    }
    store.replace_volume(VolumeRecord { handle: volume.as_str().to_owned(), data, lowers })?;
    Ok(true)
}

/// The image's root as these layers, topmost first, show it.
fn rootfs(inner: &Inner, layers: &[String]) -> io::Result<Option<MergedDir>> {
    let contents: Vec<_> = layers.iter().map(|id| inner.store.content(id)).collect();
    if contents.is_empty() {
        return Ok(None);
    }
    match MergedDir::open(&contents)?.child("rootfs".as_ref())? {
        Some(Node::Directory(root)) => Ok(Some(root)),
        _ => Ok(None),
    }
}

/// Leaves out the layers below one that hides everything below it: overlays do not look at that mark in their
/// layers' own top directories.
fn visible(inner: &Inner, mut layers: Vec<String>) -> io::Result<Vec<String>> {
    if let Some(root) = rootfs(inner, &layers)? {
        layers.truncate(root.layers().count());
    }
    Ok(layers)
}

#[cfg(test)]
mod tests;
