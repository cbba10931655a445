//! A directory tree that is changed only through file descriptors below its root.
//!
//! Symbolic links on the way to a name are resolved as if the root were `/`: absolute ones start at the root, and
//! `..` stops there. The last component is never followed.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::unpack::Owners;

/// More links than this on one path are a loop.
const MAX_LINKS: u32 = 40;

/// What a file is besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits with set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: SystemTime,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// The last directory something was made in: neighbours in a layer mostly share it.
    recent: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        Ok(Self { root: Rc::new(root), recent: None })
    }

    /// Makes a directory, or keeps the one that is there; anything else in its place is replaced.
    pub(super) fn make_directory(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        match rustix::fs::mkdirat(&*parent, name, Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode).is_dir() {
                    return Ok(());
                }
                self.recent = None;
                rustix::fs::unlinkat(&*parent, name, AtFlags::empty())?;
                Ok(rustix::fs::mkdirat(&*parent, name, Mode::RWXU)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a file of at most `limit` bytes; None when its content is longer.
    pub(super) fn make_file(
        &mut self,
        path: &[u8],
        content: &mut dyn Read,
        limit: u64,
        attributes: &Attributes,
        owners: Owners,
    ) -> io::Result<Option<u64>> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.replacing(path, |parent, name| {
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let mut file = std::fs::File::from(file);
        let written = copy_bounded(content, &mut file, limit)?;
        let Some(written) = written else { return Ok(None) };
        set_owner(owners, || {
            rustix::fs::fchown(
                &file,
                Some(Uid::from_raw(attributes.uid)),
                Some(Gid::from_raw(attributes.gid)),
            )
        })?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
        // After the owner: changing that drops file capabilities.
        set_xattrs_of(&file, attributes)?;
        rustix::fs::futimens(&file, &times(attributes))?;
        file.flush()?;
        Ok(Some(written))
    }

    pub(super) fn make_symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        attributes: &Attributes,
        owners: Owners,
    ) -> io::Result<()> {
        self.replacing(path, |parent, name| rustix::fs::symlinkat(target, parent, name))?;
        let (parent, name) = self.place(path)?;
        set_owner(owners, || chown_name(parent.as_fd(), name, attributes))?;
        Ok(rustix::fs::utimensat(&*parent, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Links to what is at `target`, itself not followed if it is a symbolic link.
    pub(super) fn make_hardlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (target_parent, target_name) = split(target);
        let Some(source) = self.directory(target_parent, false)? else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file it links to is not in the image",
            ));
        };
        self.replacing(path, |parent, name| {
            rustix::fs::linkat(&*source, target_name, parent, name, AtFlags::empty())
        })
    }

    pub(super) fn make_node(
        &mut self,
        path: &[u8],
        kind: FileType,
        device: u64,
        attributes: &Attributes,
        owners: Owners,
    ) -> io::Result<()> {
        self.replacing(path, |parent, name| {
            rustix::fs::mknodat(parent, name, kind, Mode::RUSR, device)
        })?;
        let (parent, name) = self.place(path)?;
        set_owner(owners, || chown_name(parent.as_fd(), name, attributes))?;
        // It was made just now and is not a symbolic link.
        rustix::fs::chmodat(
            &*parent,
            name,
            Mode::from_raw_mode(attributes.mode),
            AtFlags::empty(),
        )?;
        Ok(rustix::fs::utimensat(&*parent, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Hides a name of lower layers in an overlay mount.
    pub(super) fn mark_removed(&mut self, path: &[u8]) -> io::Result<()> {
        self.replacing(path, |parent, name| {
            rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
        })
    }

    /// Hides everything lower layers have in a directory in an overlay mount.
    pub(super) fn mark_opaque(&mut self, path: &[u8], user: bool) -> io::Result<()> {
        let directory = self.open_directory(path, true)?;
        let name = if user { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        Ok(rustix::fs::fsetxattr(&directory, name, b"y", XattrFlags::empty())?)
    }

    pub(super) fn set_xattrs(&mut self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
        if attributes.xattrs.is_empty() {
            return Ok(());
        }
        let directory = self.open_directory(path, false)?;
        set_xattrs_of(&directory, attributes)
    }

    /// Removes whatever is at a path; nothing there is fine.
    pub(super) fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let Some(parent) = self.directory(parent, false)? else { return Ok(()) };
        self.recent = None;
        remove_at(parent.as_fd(), name)
    }

    /// Removes what is in a directory, except paths for which `keep` holds.
    pub(super) fn clear(&mut self, path: &[u8], keep: &dyn Fn(&[u8]) -> bool) -> io::Result<()> {
        if self.directory(path, false)?.is_none() {
            return Ok(());
        }
        self.recent = None;
        let directory = self.open_directory(path, false)?;
        for name in names(directory.as_fd())? {
            let mut child = path.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(&name);
            if !keep(&child) {
                remove_at(directory.as_fd(), &name)?;
            } else if is_directory(directory.as_fd(), &name)? {
                self.clear(&child, keep)?;
            }
        }
        Ok(())
    }

    /// Gives a directory its final mode, owner and times, if it is still there.
    pub(super) fn finish_directory(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        owners: Owners,
    ) -> io::Result<()> {
        let (parent, name) = split(path);
        let Some(parent) = self.directory(parent, false)? else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = if name.is_empty() { b"." } else { name };
        let directory = match rustix::fs::openat(&*parent, name, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        set_owner(owners, || {
            rustix::fs::fchown(
                &directory,
                Some(Uid::from_raw(attributes.uid)),
                Some(Gid::from_raw(attributes.gid)),
            )
        })?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(attributes.mode))?;
        Ok(rustix::fs::futimens(&directory, &times(attributes))?)
    }

    /// Does `make` at a path; when something is there already, that is removed first.
    fn replacing<T>(
        &mut self,
        path: &[u8],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let (parent, name) = self.place(path)?;
        match make(parent.as_fd(), name) {
            Err(Errno::EXIST) => {
                self.recent = None;
                remove_at(parent.as_fd(), name)?;
                Ok(make(parent.as_fd(), name)?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// The directory a path is to be made in, made if missing, and the name in it.
    fn place<'p>(&mut self, path: &'p [u8]) -> io::Result<(Rc<OwnedFd>, &'p [u8])> {
        let (parent, name) = split(path);
        let parent = self.directory(parent, true)?;
        parent.map(|parent| (parent, name)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_directory(&mut self, path: &[u8], create: bool) -> io::Result<OwnedFd> {
        let directory = self.directory(path, create)?.ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*directory, ".", flags, Mode::empty())?)
    }

    /// Walks to a directory below the root; None when it is missing and not to be made.
    fn directory(&mut self, path: &[u8], create: bool) -> io::Result<Option<Rc<OwnedFd>>> {
        if path.is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some((recent, directory)) = &self.recent
            && recent == path
        {
            return Ok(Some(directory.clone()));
        }
        let found = walk(&self.root, path, create)?;
        if let Some(found) = &found {
            self.recent = Some((path.to_vec(), found.clone()));
        }
        Ok(found)
    }
}

fn walk(root: &Rc<OwnedFd>, path: &[u8], create: bool) -> io::Result<Option<Rc<OwnedFd>>> {
    let components = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut ahead: VecDeque<Vec<u8>> = components(path).into();
    let mut stack: Vec<Rc<OwnedFd>> = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        let here = stack.last().unwrap_or(root).clone();
        match name.as_slice() {
            b"." => continue,
            b".." => {
                stack.pop();
                continue;
            }
            _ => {}
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&*here, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) if create => {
                rustix::fs::mkdirat(&*here, &name, Mode::from_raw_mode(0o755))?;
                rustix::fs::openat(&*here, &name, flags, Mode::empty())?
            }
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
        if kind.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&opened, "", Vec::new())?;
            let target = target.as_bytes();
            if target.starts_with(b"/") {
                stack.clear();
            }
            for part in components(target).into_iter().rev() {
                ahead.push_front(part);
            }
        } else if kind.is_dir() {
            stack.push(Rc::new(opened));
        } else {
            return Err(Errno::NOTDIR.into());
        }
    }
    Ok(Some(stack.last().unwrap_or(root).clone()))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Removes a name with everything below it; links are removed, not followed.
fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for child in names(directory.as_fd())? {
        remove_at(directory.as_fd(), &child)?;
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn is_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn copy_bounded(
    from: &mut dyn Read,
    to: &mut std::fs::File,
    limit: u64,
) -> io::Result<Option<u64>> {
    let written = io::copy(&mut from.take(limit), to)?;
    if written == limit && from.read(&mut [0])? > 0 {
        return Ok(None);
    }
    Ok(Some(written))
}

fn chown_name(
    parent: BorrowedFd<'_>,
    name: &[u8],
    attributes: &Attributes,
) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owners outside the user namespace, or any without privileges, cannot be given.
fn set_owner(owners: Owners, set: impl FnOnce() -> rustix::io::Result<()>) -> io::Result<()> {
    match owners {
        Owners::Ignore => Ok(()),
        Owners::Keep => match set() {
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}

/// File systems and privileges that do not allow an attribute do not fail an image.
fn set_xattrs_of(file: impl AsFd, attributes: &Attributes) -> io::Result<()> {
    for (name, value) in &attributes.xattrs {
        match rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times(attributes: &Attributes) -> Timestamps {
    let since = attributes.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    };
    Timestamps { last_access: time, last_modification: time }
}
