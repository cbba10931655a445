//! Pushing an image under one or more tags.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jb_model::script::Fields;
use jb_oci::resource::{Source, TagVersion, aliases, origin};
use jb_oci::{
    Descriptor, Digest, Error, Layout, ManifestKind, RawManifest, Reference, Registry, open_archive,
};
use serde_json::{Value, json};

use crate::log::Log;
use crate::payload::Payload;
use crate::registry_image::fetch::SINGLE_IMAGE_FILE;
use crate::registry_image::on_retry;

/// Blobs uploaded at a time.
const PARALLEL: usize = 3;
const KEYS: &[&str] = &["image", "version", "bump_aliases", "additional_tags", "tag_prefix"];

pub(super) async fn run(
    source: &Source,
    payload: &Payload,
    artifacts: &Path,
    log: &Log,
) -> anyhow::Result<Value> {
    let params = payload.params()?;
    log.ignored_keys(&params.unknown(KEYS));
    let image = params.filled("image")?.context("params.image is required")?;
    let version = params.filled("version")?;
    let version = version.map(|text| semantic(&text)).transpose()?;
    let additional = additional_tags(&params, artifacts)?;
    let mut tags: Vec<String> = source.tag.iter().cloned().collect();
    if let Some(version) = &version {
        let text = version.version.to_string();
        tags.push(match &source.variant {
            Some(variant) => format!("{text}-{variant}"),
            None => text,
        });
    }
    let bumps = params.flag("bump_aliases", false)?;
    if tags.is_empty() && additional.is_empty() {
        bail!("no tag specified: set params.version, params.additional_tags or source.tag");
    }
    let work = tempfile::tempdir().context("failed to create a temporary directory")?;
    let path = one_match(artifacts, &image)?;
    let (layout, root) = load(&path, work.path())
        .with_context(|| format!("params.image: could not load an image from {image}"))?;

    let place = origin(source);
    let registry = place.connect(source, on_retry(log)).await?;
    if let Some(version) = version.filter(|version| bumps && version.version.pre.is_empty()) {
        let existing = match registry.tags(&place.repository).await {
            Err(Error::NotFound { .. }) => Vec::new(),
            tags => tags?,
        };
        tags.extend(aliases(&version, source.variant.as_deref(), &existing));
    }
    tags.extend(additional);
    for tag in &tags {
        let name = format!("{}:{tag}", source.repository);
        Reference::parse(&name).with_context(|| format!("cannot push tag {tag:?}"))?;
    }
    log.info(&format!("pushing tag(s) {}", tags.join(", ")));
    let upload =
        Upload { registry: &registry, repository: &place.repository, layout: &layout, log };
    upload.parts(&root, 0).await?;
    for tag in tags.iter().collect::<BTreeSet<_>>() {
        registry.push_manifest(&place.repository, tag, &root.media_type, &root.bytes).await?;
    }
    log.info("pushed");
    Ok(json!({
        "version": {"tag": tags[0], "digest": root.digest.as_str()},
        "metadata": [
            {"name": "repository", "value": source.repository},
            {"name": "tags", "value": tags.join(" ")},
        ],
    }))
}

fn semantic(text: &str) -> anyhow::Result<TagVersion> {
    TagVersion::parse(text.trim())
        .with_context(|| format!("params.version: invalid semantic version {text:?}"))
}

fn additional_tags(params: &Fields<'_>, artifacts: &Path) -> anyhow::Result<Vec<String>> {
    const MAX_FILE: u64 = 1 << 20;
    let prefix = params.text("tag_prefix")?.unwrap_or_default();
    let mut text = String::new();
    if let Some(file) = params.filled("additional_tags")? {
        let path = artifacts.join(&file);
        fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
            .with_context(|| format!("params.additional_tags: failed to read {file}"))?;
    }
    let tags: Vec<String> = text.split_whitespace().map(|tag| format!("{prefix}{tag}")).collect();
    if tags.is_empty() && !prefix.is_empty() {
        bail!("params.tag_prefix can only be used when params.additional_tags names tags");
    }
    Ok(tags)
}

/// The one path below `dir` that a pattern with `*` and `?` in its components stands for.
fn one_match(dir: &Path, pattern: &str) -> anyhow::Result<PathBuf> {
    let mut matches = vec![dir.to_path_buf()];
    for component in
        pattern.split('/').filter(|component| !component.is_empty() && *component != ".")
    {
        if !component.contains(['*', '?']) {
            matches = matches
                .into_iter()
                .map(|path| path.join(component))
                .filter(|path| path.exists())
                .collect();
            continue;
        }
        let mut found = Vec::new();
        for path in matches {
            let Ok(entries) = fs::read_dir(&path) else { continue };
            for entry in entries {
                let entry = entry.with_context(|| format!("failed to list {}", path.display()))?;
                if is_match(component.as_bytes(), entry.file_name().as_encoded_bytes()) {
                    found.push(entry.path());
                }
            }
        }
        matches = found;
    }
    match matches.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("params.image: no file matches {pattern:?}"),
        many => bail!("params.image: {} files match {pattern:?}, not one", many.len()),
    }
}

fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| is_match(rest, &name[skipped..])),
        (Some((b'?', rest)), Some((_, name))) => is_match(rest, name),
        (Some((wanted, rest)), Some((found, name))) => wanted == found && is_match(rest, name),
        _ => false,
    }
}

/// The image at a path: a layout directory, a layout in a tar, or an archive of `docker save`.
fn load(path: &Path, work: &Path) -> anyhow::Result<(Layout, RawManifest)> {
    let (layout, dir) = if path.is_dir() {
        (Layout::open(path)?, path.to_path_buf())
    } else {
        let (layout, image) = open_archive(path, work)?;
        if let Some(image) = image {
            return Ok((layout, image));
        }
        (layout, work.join("files"))
    };
    let mut root = layout.index()?;
    // An index that only holds an index stands for it.
    for _ in 0..4 {
        let ManifestKind::Index(index) = &root.kind else { break };
        let [only] = index.manifests.as_slice() else { break };
        let inner = layout.manifest(only)?;
        if !matches!(inner.kind, ManifestKind::Index(_)) {
            break;
        }
        root = inner;
    }
    let single = dir.join(SINGLE_IMAGE_FILE);
    if single.is_file() {
        let digest = fs::read_to_string(&single)
            .with_context(|| format!("failed to read {}", single.display()))?;
        let digest =
            Digest::parse(digest.trim()).with_context(|| format!("in {}", single.display()))?;
        let ManifestKind::Index(index) = &root.kind else { bail!("the layout has no index") };
        let descriptor = index.manifests.iter().find(|descriptor| descriptor.digest == digest);
        root = layout
            .manifest(descriptor.with_context(|| format!("{digest} is not in the layout"))?)?;
    }
    Ok((layout, root))
}

struct Upload<'a> {
    registry: &'a Registry,
    repository: &'a str,
    layout: &'a Layout,
    log: &'a Log,
}

impl Upload<'_> {
    /// Uploads everything a manifest or index refers to, but not itself.
    async fn parts(&self, root: &RawManifest, depth: u32) -> anyhow::Result<()> {
        match &root.kind {
            ManifestKind::Image(manifest) => {
                // Layers that only their own servers may hand out are not uploaded.
                let own = manifest.layers.iter().filter(|layer| layer.urls.is_empty());
                let blobs: Vec<&Descriptor> = own.chain([&manifest.config]).collect();
                stream::iter(blobs)
                    .map(|blob| self.blob(blob))
                    .buffer_unordered(PARALLEL)
                    .try_collect::<Vec<()>>()
                    .await?;
            }
            ManifestKind::Index(_) if depth >= 4 => {
                bail!("the image's indexes are nested too deeply")
            }
            ManifestKind::Index(index) => {
                for descriptor in &index.manifests {
                    let inner = self.layout.manifest(descriptor)?;
                    Box::pin(self.parts(&inner, depth + 1)).await?;
                    let (digest, kind) = (inner.digest.as_str(), &inner.media_type);
                    self.registry
                        .push_manifest(self.repository, digest, kind, &inner.bytes)
                        .await?;
                }
            }
        }
        Ok(())
    }

    async fn blob(&self, blob: &Descriptor) -> anyhow::Result<()> {
        let file = self.layout.blob(&blob.digest);
        let uploaded = self.registry.push_blob(self.repository, blob, &file).await?;
        let done = if uploaded { "uploaded" } else { "already there" };
        self.log.info(&format!("blob {} {done}", blob.digest.short()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
