//! Layers become files, without any of them landing outside the root they are unpacked into.
//!
//! Names in a layer are data from strangers. Every path is walked from the root's file descriptor, one component at a
//! time, and symbolic links are resolved as if the root were `/` (see [`tree`]), so `a -> /etc` followed by
//! `a/passwd` writes below the root. `..` in a name is refused; a leading `/` means the root.

mod decompress;
mod entries;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use crate::unpack::entries::{Entries, Entry, EntryKind};
use crate::unpack::tree::{Attributes, Tree};

/// What a whiteout (`.wh.name`) becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// It removes what lower layers made: layers are unpacked over each other into one tree.
    Apply,
    /// It becomes overlayfs's own mark, for layers in trees of their own. With `user` the mark for opaque
    /// directories is in the `user.` namespace, as mounts with `userxattr` (those without privileges) want it.
    Overlay { user: bool },
}

/// Whether files get the owners the layer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Owners that this process may not give are left out.
    Keep,
    Ignore,
}

/// How layers are unpacked, and the bounds that hostile ones run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackOptions {
    pub whiteouts: Whiteouts,
    pub owners: Owners,
    /// Create device nodes; otherwise they are left out.
    pub devices: bool,
    /// All layers together, uncompressed, in bytes.
    pub max_bytes: u64,
    pub max_entries: u64,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        let owners =
            if rustix::process::geteuid().is_root() { Owners::Keep } else { Owners::Ignore };
        Self {
            whiteouts: Whiteouts::Apply,
            owners,
            devices: false,
            max_bytes: 256 << 30,
            max_entries: 10_000_000,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("failed to unpack into {root}: {cause}")]
    Root { root: String, cause: std::io::Error },
    #[error("failed to read the layer: {0}")]
    Read(std::io::Error),
    #[error("refused {name:?} in the layer: {reason}")]
    Refused { name: String, reason: &'static str },
    #[error("the layers are larger than {limit} {what}")]
    TooLarge { limit: u64, what: &'static str },
    #[error("failed to unpack {name:?}: {cause}")]
    Entry { name: String, cause: std::io::Error },
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub entries: u64,
    /// Content of files.
    pub bytes: u64,
    /// Devices and other things left out.
    pub skipped: u64,
}

/// Unpacks layers, bottom first, into one directory. Modes and times of directories are set by [`Unpacker::finish`],
/// because a directory may forbid what is still to be written into it.
#[derive(Debug)]
pub struct Unpacker {
    tree: Tree,
    options: UnpackOptions,
    directories: BTreeMap<Vec<u8>, Attributes>,
    /// Directories that were made because something is in them.
    implied: BTreeSet<Vec<u8>>,
    /// Names the current layer made: its own whiteouts do not remove those.
    made: BTreeSet<Vec<u8>>,
    total: Unpacked,
}

impl Unpacker {
    /// `root` must be an existing directory.
    pub fn new(root: &Path, options: UnpackOptions) -> Result<Self, UnpackError> {
        let tree = Tree::open(root)
            .map_err(|cause| UnpackError::Root { root: root.display().to_string(), cause })?;
        let (directories, implied, made) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Ok(Self { tree, options, directories, implied, made, total: Unpacked::default() })
    }

    /// Unpacks one layer: a tar stream, plain or compressed with gzip or zstd, whatever its media type says.
    pub fn layer(&mut self, reader: impl Read) -> Result<Unpacked, UnpackError> {
        self.made.clear();
        let before = self.total;
        let reader = decompress::reader(reader).map_err(UnpackError::Read)?;
        let mut entries = Entries::new(reader);
        entries.for_each(|entry, content| {
            self.total.entries += 1;
            if self.total.entries > self.options.max_entries {
                return Err(UnpackError::TooLarge {
                    limit: self.options.max_entries,
                    what: "entries",
                });
            }
            self.entry(&entry, content)
        })?;
        Ok(Unpacked {
            entries: self.total.entries - before.entries,
            bytes: self.total.bytes - before.bytes,
            skipped: self.total.skipped - before.skipped,
        })
    }

    /// Directories of which the layers say only that something is in them, and not how they shall be; parents come
    /// before children.
    pub fn implied(&self) -> impl Iterator<Item = &[u8]> {
        self.implied.iter().map(Vec::as_slice)
    }

    /// Gives directories their modes, owners and times.
    pub fn finish(mut self) -> Result<Unpacked, UnpackError> {
        // Children before parents: a parent's mode may forbid reaching them.
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.tree
                .finish_directory(&path, &attributes, self.options.owners)
                .map_err(|cause| UnpackError::Entry { name: lossy(&path), cause })?;
        }
        Ok(self.total)
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), UnpackError> {
        let path = normalized(&entry.name)
            .ok_or_else(|| refused(entry, "its name has .. or NUL, or is too long"))?;
        let failed = |cause| UnpackError::Entry { name: lossy(&entry.name), cause };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if path.is_empty() {
            if entry.kind == EntryKind::Directory {
                self.directories.insert(Vec::new(), entry.attributes.clone());
            }
            return Ok(());
        }
        self.imply_parents(&path);
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(entry, &path, hidden);
        }
        match &entry.kind {
            EntryKind::Directory => {
                self.tree.make_directory(&path).map_err(failed)?;
                self.tree.set_xattrs(&path, &entry.attributes).map_err(failed)?;
                self.implied.remove(&path);
                self.directories.insert(path.clone(), entry.attributes.clone());
            }
            EntryKind::File => {
                let limit = self.options.max_bytes.saturating_sub(self.total.bytes);
                self.forget_below(&path);
                let written = self
                    .tree
                    .make_file(&path, content, limit, &entry.attributes, self.options.owners)
                    .map_err(failed)?;
                let Some(written) = written else {
                    return Err(UnpackError::TooLarge {
                        limit: self.options.max_bytes,
                        what: "bytes",
                    });
                };
                self.total.bytes += written;
            }
            EntryKind::Symlink(target) => {
                self.forget_below(&path);
                self.tree
                    .make_symlink(&path, target, &entry.attributes, self.options.owners)
                    .map_err(failed)?;
            }
            EntryKind::Hardlink(target) => {
                let target = normalized(target)
                    .ok_or_else(|| refused(entry, "it links to a name with .. or NUL"))?;
                if target != path {
                    self.forget_below(&path);
                    self.tree.make_hardlink(&path, &target).map_err(failed)?;
                }
            }
            EntryKind::Node { kind, device } => {
                if !kind.is_fifo() && !self.options.devices {
                    self.total.skipped += 1;
                    return Ok(());
                }
                if *device == 0 && kind.is_char_device() {
                    return Err(refused(entry, "a device 0:0 would hide a file of a lower layer"));
                }
                self.forget_below(&path);
                self.tree
                    .make_node(&path, *kind, *device, &entry.attributes, self.options.owners)
                    .map_err(failed)?;
            }
            EntryKind::Other => {
                self.total.skipped += 1;
                return Ok(());
            }
        }
        self.made.insert(path);
        Ok(())
    }

    fn whiteout(&mut self, entry: &Entry, path: &[u8], hidden: &[u8]) -> Result<(), UnpackError> {
        let failed = |cause| UnpackError::Entry { name: lossy(&entry.name), cause };
        let parent =
            path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |slash| &path[..slash]);
        if hidden == b".wh..opq" {
            return match self.options.whiteouts {
                Whiteouts::Apply => {
                    let made = &self.made;
                    self.tree.clear(parent, &|child| is_made(made, child)).map_err(failed)
                }
                Whiteouts::Overlay { user } => self.tree.mark_opaque(parent, user).map_err(failed),
            };
        }
        // Other names of this form are an old storage driver's own business.
        if hidden.starts_with(b".wh.") || hidden.is_empty() {
            self.total.skipped += 1;
            return Ok(());
        }
        if hidden == b"." || hidden == b".." {
            return Err(refused(entry, "it would remove its own directory"));
        }
        let mut target = parent.to_vec();
        if !target.is_empty() {
            target.push(b'/');
        }
        target.extend_from_slice(hidden);
        if is_made(&self.made, &target) {
            return Ok(());
        }
        match self.options.whiteouts {
            Whiteouts::Apply => {
                self.forget_below(&target);
                self.tree.remove(&target).map_err(failed)
            }
            Whiteouts::Overlay { .. } => self.tree.mark_removed(&target).map_err(failed),
        }
    }

    fn imply_parents(&mut self, path: &[u8]) {
        let mut rest = path;
        while let Some(slash) = rest.iter().rposition(|byte| *byte == b'/') {
            rest = &rest[..slash];
            if self.directories.contains_key(rest) || !self.implied.insert(rest.to_vec()) {
                return;
            }
        }
    }

    /// Forgets the directories at and below a path that is about to be replaced or removed.
    fn forget_below(&mut self, path: &[u8]) {
        self.directories.remove(path);
        let mut prefix = path.to_vec();
        prefix.push(b'/');
        let below: Vec<Vec<u8>> = self
            .directories
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, _)| key.clone())
            .collect();
        for key in below {
            self.directories.remove(&key);
        }
    }
}

/// Whether a path or something below it was made by the current layer.
fn is_made(made: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    if made.contains(path) {
        return true;
    }
    let mut prefix = path.to_vec();
    prefix.push(b'/');
    made.range(prefix.clone()..).next().is_some_and(|found| found.starts_with(&prefix))
}

/// The name as components joined by single slashes; empty for the root. None when it cannot be allowed.
fn normalized(name: &[u8]) -> Option<Vec<u8>> {
    const MAX_NAME: usize = 4096;
    if name.len() > MAX_NAME || name.contains(&0) {
        return None;
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return None,
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Some(path)
}

fn refused(entry: &Entry, reason: &'static str) -> UnpackError {
    UnpackError::Refused { name: lossy(&entry.name), reason }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(300)]).into_owned()
}

#[cfg(test)]
pub(crate) mod tests;
