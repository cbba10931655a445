//! One image at one digest, in the format a step wants.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jb_oci::resource::{Format, GetRequest, Place, Source, labels_json, metadata_json, places};
use jb_oci::{
    Descriptor, Image, Index, Layout, ManifestKind, RawManifest, Registry, UnpackOptions, Unpacker,
    media_type, write_archive,
};
use serde_json::{Value, json};

use crate::log::Log;
use crate::payload::Payload;
use crate::registry_image::on_retry;

/// Layers fetched at a time.
const PARALLEL: usize = 3;
/// Names the one image of a layout that is not an index itself.
pub(super) const SINGLE_IMAGE_FILE: &str = "single-image-digest";

struct Fetch<'a> {
    source: &'a Source,
    request: &'a GetRequest,
    dest: &'a Path,
    log: &'a Log,
}

pub(super) async fn run(
    source: &Source,
    payload: &Payload,
    dest: &Path,
    log: &Log,
) -> anyhow::Result<Value> {
    let params = payload.params()?;
    log.ignored_keys(&GetRequest::unknown_params(&params));
    let request = GetRequest::parse(source, &params, &payload.version()?)?;
    let fetch = Fetch { source, request: &request, dest, log };
    fs::create_dir_all(dest).with_context(|| format!("failed to create {}", dest.display()))?;
    let mut image = None;
    for place in places(source) {
        match fetch.from(&place).await {
            Ok(fetched) => {
                image = fetched;
                break;
            }
            Err(error) if place.is_mirror => {
                log.warn(&format!("download from mirror {} failed: {error:#}", place.name()));
                empty(dest)?;
            }
            Err(error) => return Err(error).context("download failed"),
        }
    }
    for (name, content) in request.files(source) {
        write(&dest.join(name), &content)?;
    }
    let metadata = request.metadata(source, image.as_ref()).into_iter();
    let metadata: Value =
        metadata.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let version = json!({"digest": request.digest.as_str(), "tag": request.tag});
    Ok(json!({"version": version, "metadata": metadata}))
}

impl Fetch<'_> {
    /// Fetches from one place; returns the image if it had to be looked at.
    async fn from(&self, place: &Place) -> anyhow::Result<Option<Image>> {
        self.log.info(&format!("fetching {}@{}", self.source.repository, self.request.digest));
        let registry = place.connect(self.source, on_retry(self.log)).await?;
        let repository = place.repository.as_str();
        let wants_image =
            self.source.label_regex.is_some() || self.source.annotation_regex.is_some();
        if self.request.skip_download {
            if !wants_image {
                registry.manifest(repository, self.request.digest.as_str()).await?;
                return Ok(None);
            }
        } else if self.request.format == Format::OciLayout {
            self.layout(&registry, repository).await?;
            if !wants_image {
                return Ok(None);
            }
        }
        let image = registry
            .image(repository, self.request.digest.as_str(), &self.request.platform)
            .await?;
        if !self.request.skip_download && self.request.format != Format::OciLayout {
            self.image(&registry, repository, &image).await?;
        }
        Ok(Some(image))
    }

    async fn image(
        &self,
        registry: &Registry,
        repository: &str,
        image: &Image,
    ) -> anyhow::Result<()> {
        let blobs = tempfile::Builder::new().prefix(".blobs-").tempdir_in(self.dest);
        let blobs = blobs
            .with_context(|| format!("failed to create a directory in {}", self.dest.display()))?;
        match self.request.format {
            Format::Rootfs => self.rootfs(registry, repository, image, blobs.path()).await?,
            _ => {
                let files = self.fetch_layers(registry, repository, image, blobs.path()).await?;
                let name = format!(
                    "{}/{repository}:{}",
                    registry.name(),
                    if self.request.tag.is_empty() { "latest" } else { &self.request.tag }
                );
                write_archive(&self.dest.join("image.tar"), &name, &image.raw_config, &files)?;
            }
        }
        write(&self.dest.join("labels.json"), &labels_json(&image.config))
    }

    /// Fetches layers ahead while unpacking them in order.
    async fn rootfs(
        &self,
        registry: &Registry,
        repository: &str,
        image: &Image,
        blobs: &Path,
    ) -> anyhow::Result<()> {
        let rootfs = self.dest.join("rootfs");
        fs::create_dir_all(&rootfs)
            .with_context(|| format!("failed to create {}", rootfs.display()))?;
        let mut unpacker = Some(Unpacker::new(&rootfs, UnpackOptions::default())?);
        let mut layers = stream::iter(image.manifest.layers.iter().enumerate())
            .map(|(index, layer)| {
                self.fetch_layer(registry, repository, layer, blobs.join(index.to_string()))
            })
            .buffered(PARALLEL);
        while let Some((layer, file)) = layers.try_next().await? {
            let Some(mut current) = unpacker.take() else { bail!("a layer was left half-way") };
            let unpacked = tokio::task::block_in_place(|| {
                current.layer(fs::File::open(&file).map_err(jb_oci::UnpackError::Read)?)
            });
            unpacked.with_context(|| format!("failed to unpack layer {}", layer.digest))?;
            fs::remove_file(&file)
                .with_context(|| format!("failed to remove {}", file.display()))?;
            unpacker = Some(current);
        }
        drop(layers);
        if let Some(unpacker) = unpacker {
            unpacker.finish()?;
        }
        write(&self.dest.join("metadata.json"), &metadata_json(&image.config))
    }

    async fn fetch_layers(
        &self,
        registry: &Registry,
        repository: &str,
        image: &Image,
        blobs: &Path,
    ) -> anyhow::Result<Vec<(Descriptor, PathBuf)>> {
        stream::iter(image.manifest.layers.iter().enumerate())
            .map(|(index, layer)| {
                self.fetch_layer(registry, repository, layer, blobs.join(index.to_string()))
            })
            .buffered(PARALLEL)
            .try_collect()
            .await
    }

    async fn fetch_layer(
        &self,
        registry: &Registry,
        repository: &str,
        layer: &Descriptor,
        file: PathBuf,
    ) -> anyhow::Result<(Descriptor, PathBuf)> {
        registry.blob_to_file(repository, layer, &file).await?;
        let size = layer.size as f64 / f64::from(1 << 20);
        self.log.info(&format!("layer {} ({size:.1} MiB)", layer.digest.short()));
        Ok((layer.clone(), file))
    }

    /// Everything the digest stands for, for all platforms.
    async fn layout(&self, registry: &Registry, repository: &str) -> anyhow::Result<()> {
        let dir = self.dest.join("oci");
        let layout = Layout::create(&dir)?;
        let raw = registry.manifest(repository, self.request.digest.as_str()).await?;
        match &raw.kind {
            ManifestKind::Index(index) => {
                // The index as it was, so that pushing the layout gives the same digest.
                write_bytes(&dir.join("index.json"), &raw.bytes)?;
                for descriptor in &index.manifests {
                    let image = registry.manifest(repository, descriptor.digest.as_str()).await?;
                    self.copy(registry, repository, &layout, &image, 0).await?;
                }
            }
            ManifestKind::Image(_) => {
                self.copy(registry, repository, &layout, &raw, 0).await?;
                let index = Index {
                    schema_version: 2,
                    media_type: Some(media_type::OCI_INDEX.to_owned()),
                    manifests: vec![raw.descriptor()],
                    annotations: BTreeMap::new(),
                };
                layout.write_index(&index)?;
                write(&dir.join(SINGLE_IMAGE_FILE), raw.digest.as_str())?;
            }
        }
        Ok(())
    }

    async fn copy(
        &self,
        registry: &Registry,
        repository: &str,
        layout: &Layout,
        raw: &RawManifest,
        depth: u32,
    ) -> anyhow::Result<()> {
        layout.add(&raw.digest, &raw.bytes)?;
        match &raw.kind {
            ManifestKind::Image(manifest) => {
                let all = manifest.layers.iter().chain([&manifest.config]);
                // The same blob may stand in an image twice.
                let blobs: BTreeMap<_, _> = all.map(|blob| (&blob.digest, blob)).collect();
                let missing: Vec<_> = blobs
                    .into_values()
                    .filter(|blob| !layout.blob(&blob.digest).exists())
                    .collect();
                stream::iter(missing)
                    .map(|blob| {
                        self.fetch_layer(registry, repository, blob, layout.blob(&blob.digest))
                    })
                    .buffered(PARALLEL)
                    .try_collect::<Vec<_>>()
                    .await?;
            }
            ManifestKind::Index(_) if depth >= 3 => {
                bail!("the image's indexes are nested too deeply")
            }
            ManifestKind::Index(index) => {
                for descriptor in &index.manifests {
                    let inner = registry.manifest(repository, descriptor.digest.as_str()).await?;
                    Box::pin(self.copy(registry, repository, layout, &inner, depth + 1)).await?;
                }
            }
        }
        Ok(())
    }
}

/// Removes what a failed attempt left.
fn empty(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("failed to empty {}", dir.display());
    for entry in fs::read_dir(dir).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        if entry.file_type().with_context(failed)?.is_dir() {
            fs::remove_dir_all(entry.path()).with_context(failed)?;
        } else {
            fs::remove_file(entry.path()).with_context(failed)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    write_bytes(path, content.as_bytes())
}

fn write_bytes(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
