//! An OCI image layout: a directory of blobs with an index.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::image::{Descriptor, Index, ManifestKind};
use crate::registry::RawManifest;

/// Documents in a layout are at most this large.
const MAX_DOCUMENT: u64 = 32 << 20;

#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("failed to {attempted} {path}: {cause}")]
    File { attempted: &'static str, path: String, cause: std::io::Error },
    #[error("{path} is not an OCI image layout: it has no file named oci-layout")]
    NotALayout { path: String },
    #[error("{path} cannot be read as an image document: {cause}")]
    Document { path: String, cause: serde_json::Error },
    #[error("{path} is larger than {MAX_DOCUMENT} bytes")]
    TooLarge { path: String },
    #[error("blob {wanted} has digest {found}")]
    WrongDigest { wanted: Digest, found: Digest },
}

impl Layout {
    /// Makes an empty layout.
    pub fn create(dir: &Path) -> Result<Self, LayoutError> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|cause| file_error("create", &blobs, cause))?;
        let marker = dir.join("oci-layout");
        fs::write(&marker, "{\"imageLayoutVersion\":\"1.0.0\"}")
            .map_err(|cause| file_error("write", &marker, cause))?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    pub fn open(dir: &Path) -> Result<Self, LayoutError> {
        if dir.join("oci-layout").is_file() {
            return Ok(Self { dir: dir.to_path_buf() });
        }
        Err(LayoutError::NotALayout { path: dir.display().to_string() })
    }

    /// Where a blob is, or is to be put.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    pub fn add(&self, digest: &Digest, bytes: &[u8]) -> Result<(), LayoutError> {
        let path = self.blob(digest);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|cause| file_error("create", parent, cause))?;
        }
        fs::write(&path, bytes).map_err(|cause| file_error("write", &path, cause))
    }

    pub fn write_index(&self, index: &Index) -> Result<(), LayoutError> {
        let path = self.dir.join("index.json");
        let bytes = serde_json::to_vec(index)
            .map_err(|cause| LayoutError::Document { path: path.display().to_string(), cause })?;
        fs::write(&path, bytes).map_err(|cause| file_error("write", &path, cause))
    }

    /// The index of everything in the layout.
    pub fn index(&self) -> Result<RawManifest, LayoutError> {
        let path = self.dir.join("index.json");
        let raw = document(&path, crate::image::media_type::OCI_INDEX)?;
        match raw.kind {
            ManifestKind::Index(_) => Ok(raw),
            ManifestKind::Image(_) => {
                Err(LayoutError::NotALayout { path: self.dir.display().to_string() })
            }
        }
    }

    /// A manifest or index of the layout.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<RawManifest, LayoutError> {
        let raw = document(&self.blob(&descriptor.digest), &descriptor.media_type)?;
        if raw.digest == descriptor.digest {
            return Ok(raw);
        }
        Err(LayoutError::WrongDigest { wanted: descriptor.digest.clone(), found: raw.digest })
    }
}

fn document(path: &Path, media_type: &str) -> Result<RawManifest, LayoutError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|cause| file_error("open", path, cause))?;
    file.take(MAX_DOCUMENT + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| file_error("read", path, cause))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(LayoutError::TooLarge { path: path.display().to_string() });
    }
    RawManifest::parse(bytes, media_type)
        .map_err(|cause| LayoutError::Document { path: path.display().to_string(), cause })
}

fn file_error(attempted: &'static str, path: &Path, cause: std::io::Error) -> LayoutError {
    LayoutError::File { attempted, path: path.display().to_string(), cause }
}
