//! Images in one tar file: as `docker save` writes them, or an OCI layout in a tar.

use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::image::{Descriptor, Manifest, media_type};
use crate::layout::{Layout, LayoutError};
use crate::registry::RawManifest;
use crate::unpack::{Owners, UnpackError, UnpackOptions, Unpacker};

const MAX_DOCUMENT: u64 = 32 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("failed to {attempted} {path}: {cause}")]
    File { attempted: &'static str, path: String, cause: io::Error },
    #[error("failed to unpack {path}: {cause}")]
    Unpack { path: String, cause: UnpackError },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{path} is not an image: it has neither manifest.json nor index.json")]
    NotAnImage { path: String },
    #[error("{path} is not an image as docker save writes it: {reason}")]
    Docker { path: String, reason: String },
}

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Opens an image archive as a layout, unpacked into the empty directory `work`. For an archive as `docker save`
/// writes it the second value is the one image it holds; for a layout in a tar it is None.
pub fn open_archive(
    archive: &Path,
    work: &Path,
) -> Result<(Layout, Option<RawManifest>), ArchiveError> {
    let (files, made) = (work.join("files"), work.join("image"));
    fs::create_dir(&files).map_err(|cause| file_error("create", &files, cause))?;
    let tar = fs::File::open(archive).map_err(|cause| file_error("open", archive, cause))?;
    let unpacked = |cause| ArchiveError::Unpack { path: archive.display().to_string(), cause };
    let options = UnpackOptions { owners: Owners::Ignore, ..UnpackOptions::default() };
    let mut unpacker = Unpacker::new(&files, options).map_err(unpacked)?;
    unpacker.layer(BufReader::new(tar)).map_err(unpacked)?;
    if files.join("manifest.json").is_file() {
        let layout = Layout::create(&made)?;
        let manifest = import(&files, archive, &layout)?;
        return Ok((layout, Some(manifest)));
    }
    if files.join("index.json").is_file() {
        return Ok((Layout::open(&files)?, None));
    }
    Err(ArchiveError::NotAnImage { path: archive.display().to_string() })
}

/// Turns the image of a `docker save` archive into one with a manifest.
fn import(files: &Path, archive: &Path, layout: &Layout) -> Result<RawManifest, ArchiveError> {
    let wrong =
        |reason: String| ArchiveError::Docker { path: archive.display().to_string(), reason };
    let saved = read_bounded(&files.join("manifest.json"))?;
    let saved: Vec<Saved> =
        serde_json::from_slice(&saved).map_err(|error| wrong(error.to_string()))?;
    let [saved] = saved.as_slice() else {
        return Err(wrong(format!("it holds {} images, not one", saved.len())));
    };
    let config = read_bounded(
        &inside(files, &saved.config)
            .ok_or_else(|| wrong("its configuration is missing".into()))?,
    )?;
    let config_digest = Digest::of(&config);
    layout.add(&config_digest, &config)?;
    let mut layers = Vec::new();
    for name in &saved.layers {
        let path =
            inside(files, name).ok_or_else(|| wrong(format!("layer {name:?} is missing")))?;
        layers.push(import_layer(&path, layout)?);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::DOCKER_MANIFEST.to_owned()),
        config: Descriptor::new(media_type::DOCKER_CONFIG, config_digest, config.len() as u64),
        layers,
        annotations: Default::default(),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| wrong(error.to_string()))?;
    let raw = RawManifest::parse(bytes, media_type::DOCKER_MANIFEST)
        .map_err(|error| wrong(error.to_string()))?;
    layout.add(&raw.digest, &raw.bytes)?;
    Ok(raw)
}

/// Puts a layer among the blobs; one that is not compressed becomes so, always to the same bytes.
fn import_layer(path: &Path, layout: &Layout) -> Result<Descriptor, ArchiveError> {
    let failed = |cause| file_error("read", path, cause);
    let mut start = [0_u8; 4];
    let mut file = fs::File::open(path).map_err(failed)?;
    let read = file.read(&mut start).map_err(failed)?;
    let start = &start[..read];
    let kind = if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        "application/vnd.docker.image.rootfs.diff.tar.zstd"
    } else {
        media_type::DOCKER_LAYER_GZIP
    };
    let compressed = start.starts_with(&[0x1f, 0x8b]) || kind != media_type::DOCKER_LAYER_GZIP;
    let temporary =
        layout.blob(&Digest::of(path.as_os_str().as_encoded_bytes())).with_extension("partial");
    let out =
        fs::File::create(&temporary).map_err(|cause| file_error("create", &temporary, cause))?;
    let mut out = Hashing { inner: BufWriter::new(out), hasher: Hasher::sha256(), size: 0 };
    let mut input = BufReader::new(fs::File::open(path).map_err(failed)?);
    let copied = if compressed {
        io::copy(&mut input, &mut out)
    } else {
        let mut encoder = flate2::GzBuilder::new().write(&mut out, flate2::Compression::default());
        io::copy(&mut input, &mut encoder).and_then(|size| encoder.finish().map(|_| size))
    };
    copied
        .and_then(|_| out.inner.flush())
        .map_err(|cause| file_error("write", &temporary, cause))?;
    let digest = out.hasher.finish();
    let blob = layout.blob(&digest);
    fs::rename(&temporary, &blob).map_err(|cause| file_error("rename", &temporary, cause))?;
    Ok(Descriptor::new(kind, digest, out.size))
}

struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file of the archive. Links in it must not lead out of it: what they name is about to be published.
fn inside(files: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    let root = files.canonicalize().ok()?;
    let path = files.join(relative).canonicalize().ok()?;
    (path.starts_with(&root) && path.is_file()).then_some(path)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|cause| file_error("open", path, cause))?;
    file.take(MAX_DOCUMENT)
        .read_to_end(&mut bytes)
        .map_err(|cause| file_error("read", path, cause))?;
    Ok(bytes)
}

/// Writes one image as `docker save` does; `layers` are its descriptors with the files of their blobs.
pub fn write_archive(
    archive: &Path,
    name: &str,
    config: &[u8],
    layers: &[(Descriptor, PathBuf)],
) -> Result<(), ArchiveError> {
    let failed = |cause| file_error("write", archive, cause);
    let file = fs::File::create(archive).map_err(failed)?;
    let mut tar = tar::Builder::new(BufWriter::new(file));
    let config_name = Digest::of(config).to_string();
    append(&mut tar, &config_name, config.len() as u64, config).map_err(failed)?;
    let mut names = Vec::new();
    for (descriptor, blob) in layers {
        let layer_name = format!("{}.tar.gz", descriptor.digest.hex());
        if !names.contains(&layer_name) {
            let content = fs::File::open(blob).map_err(|cause| file_error("open", blob, cause))?;
            append(&mut tar, &layer_name, descriptor.size, content).map_err(failed)?;
        }
        names.push(layer_name);
    }
    let saved =
        [Saved { config: config_name, repo_tags: Some(vec![name.to_owned()]), layers: names }];
    let saved = serde_json::to_vec(&saved).map_err(|error| ArchiveError::Docker {
        path: archive.display().to_string(),
        reason: error.to_string(),
    })?;
    append(&mut tar, "manifest.json", saved.len() as u64, saved.as_slice()).map_err(failed)?;
    tar.into_inner().and_then(|mut out| out.flush()).map_err(failed)
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)
}

fn file_error(attempted: &'static str, path: &Path, cause: io::Error) -> ArchiveError {
    ArchiveError::File { attempted, path: path.display().to_string(), cause }
}
