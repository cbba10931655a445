//! One image at one digest, in the format a step wants.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jb_oci::{
    Descriptor, Digest, Image, Index, Layout, ManifestKind, Platform, RawManifest, Registry,
    UnpackOptions, Unpacker, media_type, write_archive,
};
use regex::Regex;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::log::Log;
use crate::payload::Payload;
use crate::registry_image::session::{Place, places};
use crate::registry_image::source::{self, Source};

/// Layers fetched at a time.
const PARALLEL: usize = 3;
const KEYS: &[&str] = &["format", "platform", "skip_download"];
/// Names the one image of a layout that is not an index itself.
pub(super) const SINGLE_IMAGE_FILE: &str = "single-image-digest";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Rootfs,
    Oci,
    OciLayout,
}

struct Fetch<'a> {
    source: &'a Source,
    dest: &'a Path,
    tag: &'a str,
    digest: &'a Digest,
    format: Format,
    platform: Platform,
    skip_download: bool,
    log: &'a Log,
}

pub(super) async fn run(
    source: &Source,
    payload: &Payload,
    dest: &Path,
    log: &Log,
) -> anyhow::Result<Value> {
    let params = payload.params()?;
    log.ignored_keys(&params.unknown(KEYS));
    let version = payload.version()?;
    let digest = version.string("digest")?.context("version.digest: missing")?;
    let digest = Digest::parse(&digest).context("version.digest")?;
    let tag = version.text("tag")?.unwrap_or_default();
    let fetch = Fetch {
        source,
        dest,
        tag: &tag,
        digest: &digest,
        format: format(&params)?,
        platform: source.platform(source::platform(&params.map("platform")?)?),
        skip_download: params.flag("skip_download", false)?,
        log,
    };
    fs::create_dir_all(dest).with_context(|| format!("failed to create {}", dest.display()))?;
    let mut metadata = None;
    for place in places(source) {
        match fetch.from(&place).await {
            Ok(fetched) => {
                metadata = Some(fetched);
                break;
            }
            Err(error) if place.is_mirror => {
                log.warn(&format!("download from mirror {} failed: {error:#}", place.name()));
                empty(dest)?;
            }
            Err(error) => return Err(error).context("download failed"),
        }
    }
    write(&dest.join("tag"), &tag)?;
    write(&dest.join("digest"), digest.as_str())?;
    write(&dest.join("repository"), &source.repository)?;
    let tag_or_default = if tag.is_empty() { "latest" } else { &tag };
    let mut fields = vec![
        json!({"name": "repository", "value": source.repository}),
        json!({"name": "tag", "value": tag_or_default}),
    ];
    fields.extend(metadata.unwrap_or_default());
    let mut returned = json!({"digest": digest.as_str()});
    returned["tag"] = json!(tag);
    Ok(json!({"version": returned, "metadata": fields}))
}

fn format(params: &Fields<'_>) -> anyhow::Result<Format> {
    Ok(match params.string("format")?.as_deref() {
        None | Some("" | "rootfs") => Format::Rootfs,
        Some("oci") => Format::Oci,
        Some("oci-layout") => Format::OciLayout,
        Some(other) => bail!("params.format: {other:?} is none of rootfs, oci and oci-layout"),
    })
}

impl Fetch<'_> {
    /// Fetches from one place; returns the metadata that comes from the image.
    async fn from(&self, place: &Place) -> anyhow::Result<Vec<Value>> {
        self.log.info(&format!("fetching {}@{}", self.source.repository, self.digest));
        let registry = place.connect(self.source, self.log).await?;
        let repository = place.repository.as_str();
        let wants_image =
            self.source.label_regex.is_some() || self.source.annotation_regex.is_some();
        if self.skip_download {
            if !wants_image {
                registry.manifest(repository, self.digest.as_str()).await?;
                return Ok(Vec::new());
            }
        } else if self.format == Format::OciLayout {
            self.layout(&registry, repository).await?;
            if !wants_image {
                return Ok(Vec::new());
            }
        }
        let image = registry.image(repository, self.digest.as_str(), &self.platform).await?;
        if !self.skip_download && self.format != Format::OciLayout {
            self.image(&registry, repository, &image).await?;
        }
        let labels = chosen(self.source.label_regex.as_ref(), &image.config.config.labels);
        let annotations =
            chosen(self.source.annotation_regex.as_ref(), &image.manifest.annotations);
        Ok(labels.chain(annotations).collect())
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
        match self.format {
            Format::Rootfs => self.rootfs(registry, repository, image, blobs.path()).await?,
            _ => {
                let files = self.fetch_layers(registry, repository, image, blobs.path()).await?;
                let name = format!(
                    "{}/{repository}:{}",
                    registry.name(),
                    if self.tag.is_empty() { "latest" } else { self.tag }
                );
                write_archive(&self.dest.join("image.tar"), &name, &image.raw_config, &files)?;
            }
        }
        let labels = serde_json::to_string(&image.config.config.labels)?;
        write(&self.dest.join("labels.json"), &format!("{labels}\n"))
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
        let config = &image.config.config;
        let metadata = json!({
            "cmd": config.cmd,
            "entrypoint": config.entrypoint,
            "env": config.env,
            "user": config.user,
            "working_dir": config.working_dir,
        });
        write(&self.dest.join("metadata.json"), &format!("{metadata}\n"))
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
        let raw = registry.manifest(repository, self.digest.as_str()).await?;
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

/// Metadata fields of the entries whose key matches.
fn chosen(regex: Option<&Regex>, values: &BTreeMap<String, String>) -> impl Iterator<Item = Value> {
    let matching = move |key: &str| regex.is_some_and(|regex| regex.is_match(key));
    values
        .iter()
        .filter(move |(key, _)| matching(key))
        .map(|(key, value)| json!({"name": key, "value": value}))
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
