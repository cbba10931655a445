//! Directories that stay between builds, for everybody to write in.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jb_archive::merged::MergedDir;
use jb_archive::pack;

use crate::name;

/// Where the caches lie in their claim.
pub const CACHES: &str = "caches";

/// The directory of a cache, relative to its claim; `None` when its handle is too long for a name.
pub fn cache_path(handle: &str) -> Option<String> {
    name::encode(handle).map(|name| format!("{CACHES}/{name}"))
}

/// Caches below a directory.
pub struct Caches(PathBuf);

impl Caches {
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// Finds or makes a cache.
    pub fn make(&self, handle: &str) -> io::Result<()> {
        let path = cache_path(handle).ok_or(io::ErrorKind::InvalidFilename)?;
        let path = self.0.join(path);
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&path)?;
        // Steps of any user write here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))
    }

    /// The directory of a cache, if there is one.
    fn find(&self, handle: &str) -> Option<PathBuf> {
        let path = self.0.join(cache_path(handle)?);
        path.is_dir().then_some(path)
    }

    pub fn has(&self, handle: &str) -> bool {
        self.find(handle).is_some()
    }

    /// One whole file of a cache, at most `limit` bytes; `None` when there is no such file.
    pub fn read_file(&self, handle: &str, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(directory) = self.find(handle) else { return Ok(None) };
        pack::read_file(&MergedDir::open(&[directory])?, Path::new(path), limit)
    }

    /// Writes a plain tar archive of a directory, or of one file, of a cache.
    pub fn archive(&self, handle: &str, path: &str, out: impl io::Write) -> io::Result<()> {
        let directory = self.find(handle).ok_or(io::ErrorKind::NotFound)?;
        match MergedDir::open(&[directory])?.resolve(Path::new(path))? {
            Some(node) => pack::pack(&node, out),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn list(&self) -> io::Result<Vec<String>> {
        match fs::read_dir(self.0.join(CACHES)) {
            Ok(entries) => Ok(entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str().and_then(name::decode))
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Takes a cache away from whoever comes next, and then apart.
    pub fn remove(&self, handle: &str) -> io::Result<()> {
        let path = cache_path(handle).ok_or(io::ErrorKind::InvalidFilename)?;
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        };
        let trash = self.0.join(CACHES).join(format!(".{}", crate::volumes::unique(handle)));
        match fs::rename(self.0.join(path), &trash) {
            Ok(()) => fs::remove_dir_all(&trash).or_else(gone),
            Err(error) => gone(error),
        }
    }
}
