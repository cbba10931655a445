//! Reading stacked directories as overlayfs would show them, without mounting them.
//!
//! Volumes can be copies on write of others: a stack of directories, topmost first. Everything is
//! opened relative to a directory and without following links, so that what a container wrote
//! there cannot lead out.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};

/// How many symbolic links one path may go through.
const MAX_LINKS: usize = 40;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One directory of the merged view.
pub struct MergedDir {
    /// Topmost first, at least one.
    layers: Vec<OwnedFd>,
}

/// What a name in a directory stands for.
pub enum Node {
    Directory(MergedDir),
    Other(Other),
}

/// Anything but a directory.
pub struct Other {
    /// The directory it is in, in the layer that has it.
    pub parent: OwnedFd,
    pub name: OsString,
    pub stat: Stat,
}

impl Other {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file for reading; never blocks on one that was swapped for a pipe.
    pub fn open(&self) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.parent, &self.name, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file any more"));
        }
        Ok(fd.into())
    }

    pub fn link_target(&self) -> io::Result<OsString> {
        let target: CString = fs::readlinkat(&self.parent, &self.name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }
}

impl MergedDir {
    /// Opens a stack of directories, topmost first.
    pub fn open<P: AsRef<Path>>(layers: &[P]) -> io::Result<Self> {
        let layers = layers
            .iter()
            .map(|path| Ok(fs::openat(fs::CWD, path.as_ref(), DIRECTORY, Mode::empty())?))
            .collect::<io::Result<Vec<_>>>()?;
        if layers.is_empty() {
            return Err(io::Error::other("a volume has no directory"));
        }
        Ok(Self { layers })
    }

    /// The directories of this one, topmost first.
    pub fn layers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.layers.iter().map(AsFd::as_fd)
    }

    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.layers[0])?)
    }

    fn duplicate(&self) -> io::Result<Self> {
        let layers =
            self.layers.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<OwnedFd>>>()?;
        Ok(Self { layers })
    }

    /// One name of this directory; `None` when it has none such.
    pub fn child(&self, name: &OsStr) -> io::Result<Option<Node>> {
        let mut found = Vec::new();
        for layer in &self.layers {
            let stat = match fs::statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if is_whiteout(&stat) {
                break;
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                if found.is_empty() {
                    let parent = layer.try_clone()?;
                    return Ok(Some(Node::Other(Other { parent, name: name.to_owned(), stat })));
                }
                break;
            }
            let fd = fs::openat(layer, name, DIRECTORY, Mode::empty())?;
            let opaque = is_opaque(&fd);
            found.push(fd);
            if opaque {
                break;
            }
        }
        Ok((!found.is_empty()).then_some(Node::Directory(Self { layers: found })))
    }

    /// The names in this directory, sorted.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        // The topmost layer that has a name decides whether it is there.
        let mut names = BTreeMap::new();
        for layer in &self.layers {
            for entry in fs::Dir::read_from(layer)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let name = OsStr::from_bytes(name);
                if names.contains_key(name) {
                    continue;
                }
                let hidden = entry.file_type() == FileType::CharacterDevice
                    && is_whiteout(&fs::statat(layer, name, AtFlags::SYMLINK_NOFOLLOW)?);
                names.insert(name.to_owned(), !hidden);
            }
        }
        Ok(names.into_iter().filter_map(|(name, shown)| shown.then_some(name)).collect())
    }

    /// What is at a path below this directory. Links are followed as long as they stay below it;
    /// `None` when nothing is there, an error when the path leads out.
    pub fn resolve(&self, path: &Path) -> io::Result<Option<Node>> {
        let mut pending: Vec<OsString> = components(path)?;
        pending.reverse();
        let mut walked = vec![self.duplicate()?];
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                if walked.len() == 1 {
                    return Err(leads_out(path));
                }
                walked.pop();
                continue;
            }
            let Some(current) = walked.last() else { return Ok(None) };
            match current.child(&name)? {
                None => return Ok(None),
                Some(Node::Directory(directory)) => walked.push(directory),
                Some(Node::Other(other)) if other.kind() == FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(rustix::io::Errno::LOOP.into());
                    }
                    let target = PathBuf::from(other.link_target()?);
                    if target.is_absolute() {
                        return Err(leads_out(path));
                    }
                    pending.extend(link_components(&target).into_iter().rev());
                }
                Some(Node::Other(other)) if pending.is_empty() => {
                    return Ok(Some(Node::Other(other)));
                }
                Some(Node::Other(_)) => return Ok(None),
            }
        }
        Ok(walked.pop().map(Node::Directory))
    }
}

fn leads_out(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("path `{}` leads out of the volume", path.display()),
    )
}

/// The names of a relative path without `.`; refuses `..` and absolute paths.
pub fn components(path: &Path) -> io::Result<Vec<OsString>> {
    use std::path::Component;
    path.components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name.to_owned()),
            _ => Err(leads_out(path)),
        })
        .collect()
}

fn link_components(target: &Path) -> Vec<OsString> {
    use std::path::Component;
    target
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// Overlayfs marks a removed name by a character device numbered 0, 0.
fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Overlayfs marks a directory that hides those below it by an attribute, which it keeps in the
/// `user` class when it was mounted without privilege.
fn is_opaque(directory: &OwnedFd) -> bool {
    let name =
        if crate::privilege::is_root() { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
    let mut value = [0u8; 1];
    matches!(fs::fgetxattr(directory, name, &mut value[..]), Ok(1) if value == *b"y")
}
