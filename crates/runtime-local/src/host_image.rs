//! This machine's own file system as an image: what of it a container may see.
//!
//! A container's writable layer starts with marks that hide everything but programs and their
//! configuration, and of the configuration what not everybody may read. (A layer of its own for
//! them, below the writable one, would be simpler, but overlayfs refuses a lower layer that lies
//! inside another, and the state directory lies in the host's root.)

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};

/// Top-level names that are shown. All others are hidden.
const SHOWN: &[&str] =
    &["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "nix", "gnu", "var"];
/// Directories that are there but empty, with their mode.
const EMPTY: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];
/// What of `/var` is there: package databases that tools read, and empty directories.
const VAR_EMPTY: &[(&str, u32)] =
    &[("cache", 0o755), ("log", 0o755), ("spool", 0o755), ("tmp", 0o1777)];
const VAR_LIB_SHOWN: &[&str] =
    &["alternatives", "apk", "apt", "dpkg", "pacman", "rpm", "ucf", "dbus", "ca-certificates"];
/// Not readable by everybody, yet needed and not secret.
const ETC_KEPT: &[&str] = &["sudoers", "sudoers.d"];
/// Deepest directory of `/etc` that is looked through; deeper ones are hidden.
const ETC_DEPTH: usize = 8;

/// One change that a container's writable layer starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// The name is gone; it may be made anew in the container.
    Hide,
    /// A directory that hides the host's.
    Empty { mode: u32 },
    /// The host's directory, in which something is changed: the topmost layer's attributes count.
    Keep { mode: u32, user: u32, group: u32 },
}

/// Looks through the host's file system for what has to be hidden. `hidden` are further paths,
/// such as the state directory. Directories come before what is in them.
pub(crate) fn mask(host: &Path, hidden: &[PathBuf]) -> io::Result<Vec<Change>> {
    let mut mask = Mask { host, changes: BTreeMap::new() };
    for entry in fs::read_dir(host)? {
        let name = entry?.file_name();
        let known = |names: &[&str]| names.iter().any(|known| *known == name);
        if !known(SHOWN) && !EMPTY.iter().any(|(empty, _)| *empty == name) {
            mask.add(Path::new(&name), ChangeKind::Hide)?;
        }
    }
    for (name, mode) in EMPTY {
        mask.add(Path::new(name), ChangeKind::Empty { mode: *mode })?;
    }
    mask.var()?;
    mask.private_files(Path::new("etc"), 0)?;
    for path in hidden {
        let Ok(path) = path.strip_prefix(host) else { continue };
        let emptied = matches!(mask.changes.get(path), Some(ChangeKind::Empty { .. }));
        if !emptied && fs::symlink_metadata(host.join(path)).is_ok() {
            mask.add(path, ChangeKind::Hide)?;
        }
    }
    Ok(mask.changes.into_iter().map(|(path, kind)| Change { path, kind }).collect())
}

/// Prepares the root for a user without privileges, who may not lay an overlay over a directory
/// with mounts below it, such as the host's root: one overlay for each directory that is shown,
/// whose writable layers are `<dir>/part-<name>`, in a root of its own at `<dir>/upper`.
pub(crate) fn apply_in_parts(changes: &[Change], dir: &Path, mark: &Path) -> io::Result<()> {
    let root = dir.join("upper");
    for name in SHOWN {
        let original = Path::new("/").join(name);
        let Ok(metadata) = fs::symlink_metadata(&original) else { continue };
        if metadata.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&original)?, root.join(name))?;
        }
        if !metadata.is_dir() {
            continue;
        }
        fs::create_dir(root.join(name))?;
        let layer = dir.join(part(name));
        fs::create_dir(&layer)?;
        fs::create_dir(dir.join(part_work(name)))?;
        let inside: Vec<Change> = changes
            .iter()
            .filter_map(|change| {
                let path = change.path.strip_prefix(name).ok()?.to_owned();
                let inside = !path.as_os_str().is_empty();
                inside.then(|| Change { path, kind: change.kind.clone() })
            })
            .collect();
        apply(&inside, &layer, mark)?;
        crate::store::set_mode(&layer, metadata.permissions().mode() & 0o7777)?;
    }
    for (name, mode) in EMPTY {
        fs::create_dir(root.join(name))?;
        crate::store::set_mode(&root.join(name), *mode)?;
    }
    Ok(())
}

fn part(name: &str) -> String {
    format!("part-{name}")
}

fn part_work(name: &str) -> String {
    format!("part-{name}-work")
}

/// The parts that were prepared: directory of the host, writable layer, and overlayfs's own.
pub(crate) fn parts(dir: &Path) -> Vec<(&'static str, PathBuf, PathBuf)> {
    SHOWN
        .iter()
        .map(|name| (*name, dir.join(part(name)), dir.join(part_work(name))))
        .filter(|(_, layer, _)| layer.is_dir())
        .collect()
}

/// The mark of a hidden name. Each container links to it: making and removing dozens of inodes for
/// each would cost more than the rest of its file system.
pub(crate) fn make_mark(path: &Path) -> io::Result<()> {
    let kind = FileType::CharacterDevice;
    match rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::empty(), 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the changes in an empty writable layer, on the file system that `mark` is on.
pub(crate) fn apply(changes: &[Change], layer: &Path, mark: &Path) -> io::Result<()> {
    let root = crate::privilege::is_root();
    let opaque = if root { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let layer_fd = rustix::fs::open(layer, flags, Mode::empty())?;
    for change in changes {
        if matches!(change.kind, ChangeKind::Hide) {
            hide(&layer_fd, &change.path, mark)?;
            continue;
        }
        rustix::fs::mkdirat(&layer_fd, &change.path, Mode::from_raw_mode(0o700))?;
        if matches!(change.kind, ChangeKind::Empty { .. }) {
            let path = layer.join(&change.path);
            rustix::fs::setxattr(&path, opaque, b"y", XattrFlags::empty())?;
        }
    }
    // Last, and from the innermost, as who is not root cannot change what has no write permission.
    for change in changes.iter().rev() {
        let (mode, owner) = match change.kind {
            ChangeKind::Hide => continue,
            ChangeKind::Empty { mode } => (mode, (0, 0)),
            ChangeKind::Keep { mode, user, group } => (mode, (user, group)),
        };
        if root && owner != (0, 0) {
            std::os::unix::fs::chown(layer.join(&change.path), Some(owner.0), Some(owner.1))?;
        }
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(&layer_fd, &change.path, mode, AtFlags::empty())?;
    }
    Ok(())
}

fn hide(layer: &OwnedFd, path: &Path, mark: &Path) -> io::Result<()> {
    if rustix::fs::linkat(rustix::fs::CWD, mark, layer, path, AtFlags::empty()).is_ok() {
        return Ok(());
    }
    // It may have as many links as the file system allows.
    let kind = FileType::CharacterDevice;
    Ok(rustix::fs::mknodat(layer, path, kind, Mode::empty(), 0)?)
}

/// Whether a path of the host is shown, so that mounts below it are to be shown too.
pub(crate) fn is_shown(path: &Path) -> bool {
    let mut names = path.components().skip(1).map(|component| component.as_os_str());
    let Some(first) = names.next() else { return false };
    if first == "var" {
        let (second, third) = (names.next(), names.next());
        return second.is_some_and(|name| name == "lib")
            && third.is_some_and(|name| VAR_LIB_SHOWN.iter().any(|shown| *shown == name));
    }
    SHOWN.iter().any(|shown| *shown == first)
}

struct Mask<'a> {
    host: &'a Path,
    /// Ordered by path, so that directories come first.
    changes: BTreeMap<PathBuf, ChangeKind>,
}

impl Mask<'_> {
    /// Notes a change unless a directory above hides the path already, and the directories it
    /// needs to be in.
    fn add(&mut self, path: &Path, kind: ChangeKind) -> io::Result<()> {
        for directory in path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            match self.changes.get(directory) {
                Some(ChangeKind::Hide | ChangeKind::Empty { .. }) => return Ok(()),
                Some(ChangeKind::Keep { .. }) | None => {}
            }
            if !fs::symlink_metadata(self.host.join(directory))?.is_dir() {
                return Ok(());
            }
        }
        for directory in path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            if !self.changes.contains_key(directory) {
                let original = fs::symlink_metadata(self.host.join(directory))?;
                let kind = ChangeKind::Keep {
                    mode: original.permissions().mode() & 0o7777,
                    user: original.uid(),
                    group: original.gid(),
                };
                self.changes.insert(directory.to_owned(), kind);
            }
        }
        // Whatever is noted below a name that is hidden later must go.
        self.changes.retain(|other, _| other == path || !other.starts_with(path));
        self.changes.insert(path.to_owned(), kind);
        Ok(())
    }

    fn var(&mut self) -> io::Result<()> {
        let var = self.host.join("var");
        if !fs::symlink_metadata(&var).is_ok_and(|var| var.is_dir()) {
            return Ok(());
        }
        for entry in fs::read_dir(&var)? {
            let entry = entry?;
            let name = entry.file_name();
            let listed = name == "lib" || VAR_EMPTY.iter().any(|(empty, _)| *empty == name);
            // Links such as `/var/run` lead to what is decided elsewhere.
            if !listed && !entry.file_type()?.is_symlink() {
                self.add(&Path::new("var").join(name), ChangeKind::Hide)?;
            }
        }
        for (name, mode) in VAR_EMPTY {
            self.add(&Path::new("var").join(name), ChangeKind::Empty { mode: *mode })?;
        }
        let Ok(entries) = fs::read_dir(var.join("lib")) else { return Ok(()) };
        for entry in entries {
            let name = entry?.file_name();
            if !VAR_LIB_SHOWN.iter().any(|shown| *shown == name) {
                self.add(&Path::new("var/lib").join(name), ChangeKind::Hide)?;
            }
        }
        Ok(())
    }

    /// Hides what not everybody may read below a directory.
    fn private_files(&mut self, directory: &Path, depth: usize) -> io::Result<()> {
        let entries = match fs::read_dir(self.host.join(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if depth == 0 && ETC_KEPT.iter().any(|kept| *kept == entry.file_name()) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                continue;
            }
            let mode = match entry.metadata() {
                Ok(metadata) => metadata.permissions().mode(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let public = if kind.is_dir() { mode & 0o005 == 0o005 } else { mode & 0o004 != 0 };
            if !public || (kind.is_dir() && depth >= ETC_DEPTH) {
                self.add(&path, ChangeKind::Hide)?;
            } else if kind.is_dir() {
                self.private_files(&path, depth + 1)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
