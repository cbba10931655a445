//! Extracting a tar archive into a directory that may hold anything, without leaving it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
};
use tar::{Entry, EntryType};

use crate::merged::components;

/// Bounds on what one archive may bring.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Paths longer than this are refused before they reach the kernel's own limit.
const MAX_PATH: usize = 4096;
/// Holes in sparse files are kept in blocks of this size.
const BLOCK: usize = 4096;

/// The part of an archive that is wanted, and what of it is not.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The directory whose content is extracted; everything else is left out.
    pub below: &'a str,
    /// Paths below it that are left out with all that is below them.
    pub except: &'a [&'a str],
}

impl Part<'_> {
    const WHOLE: Part<'static> = Part { below: "", except: &[] };

    /// A path of the archive as it is extracted; none when it is left out.
    fn wanted(&self, names: Vec<OsString>) -> Option<Vec<OsString>> {
        let below = components(Path::new(self.below)).ok()?;
        let wanted = names.strip_prefix(below.as_slice())?.to_vec();
        let path: PathBuf = wanted.iter().collect();
        let left_out = self.except.iter().any(|except| path.starts_with(except));
        (!left_out).then_some(wanted)
    }
}

/// Extracts `archive` below `root`. Owners are kept when `owners` is set (it needs root).
pub fn unpack(archive: impl Read, root: &OwnedFd, bounds: Bounds, owners: bool) -> io::Result<()> {
    unpack_part(archive, root, bounds, owners, Part::WHOLE).map(drop)
}

/// As [`unpack`], with a part of it. Returns how many entries that had.
pub fn unpack_part(
    archive: impl Read,
    root: &OwnedFd,
    bounds: Bounds,
    owners: bool,
    part: Part<'_>,
) -> io::Result<u64> {
    let mut archive = tar::Archive::new(archive);
    let (bytes_left, directories) = (bounds.bytes, Vec::new());
    let mut unpacker = Unpacker { root, owners, part, bytes_left, directories, extracted: 0 };
    let mut entries = 0u64;
    for entry in archive.entries()? {
        entries += 1;
        if entries > bounds.entries {
            return Err(refused(format!("the archive has more than {} entries", bounds.entries)));
        }
        unpacker.entry(entry?)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: &'a OwnedFd,
    part: Part<'a>,
    extracted: u64,
    owners: bool,
    bytes_left: u64,
    /// Directories whose mode and time are set at the end, when nothing is written into them.
    directories: Vec<(OwnedFd, Mode, Timestamps)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = entry.path()?.into_owned();
        if path.as_os_str().len() > MAX_PATH {
            return Err(refused("an entry's path is longer than 4096 bytes"));
        }
        let names = components(&path)
            .map_err(|_| refused(format!("entry `{}` leaves the volume", path.display())))?;
        let Some(names) = self.part.wanted(names) else { return Ok(()) };
        self.extracted += 1;
        let Some((name, parents)) = names.split_last() else {
            // The entry for `.` itself: only its attributes matter.
            return self.top_attributes(&entry);
        };
        let parent = self.parent(parents, &path)?;
        match kind {
            EntryType::Directory => self.directory(&parent, name, &entry),
            EntryType::Symlink => {
                let target = link_name(&entry)?;
                remove_other(&parent, name)?;
                fs::symlinkat(&target, &parent, name)?;
                self.link_attributes(&parent, name, &entry)
            }
            EntryType::Link => self.hard_link(&parent, name, &entry),
            EntryType::Fifo => {
                remove_other(&parent, name)?;
                fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                self.link_attributes(&parent, name, &entry)?;
                Ok(fs::chmodat(&parent, name, mode(&entry)?, AtFlags::empty())?)
            }
            EntryType::Char | EntryType::Block => Err(refused(format!(
                "entry `{}` is a device, which volumes cannot hold",
                path.display()
            ))),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&parent, name, &mut entry)
            }
            other => Err(refused(format!(
                "entry `{}` has the unknown type {:?}",
                path.display(),
                char::from(other.as_byte())
            ))),
        }
    }

    /// Opens the directory of an entry, making what is missing. Links are followed within the volume.
    fn parent(&self, names: &[OsString], path: &Path) -> io::Result<OwnedFd> {
        let mut current =
            fs::openat(self.root, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut walked = PathBuf::new();
        for name in names {
            walked.push(name);
            current = match open_directory(self.root, &walked) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => {
                    fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)).map_err(|error| {
                        refused(format!(
                            "cannot make the directory of `{}`: {error}",
                            path.display()
                        ))
                    })?;
                    open_directory(self.root, &walked)?
                }
                Err(error) => {
                    return Err(refused(format!(
                        "entry `{}` leaves the volume or lies below a file: {error}",
                        path.display()
                    )));
                }
            };
        }
        Ok(current)
    }

    fn directory<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry<'_, R>,
    ) -> io::Result<()> {
        let fd = match fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => open_here(parent, name)?,
            Err(rustix::io::Errno::EXIST) => match open_here(parent, name) {
                Ok(fd) => fd,
                Err(_) => {
                    fs::unlinkat(parent, name, AtFlags::empty())?;
                    fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                    open_here(parent, name)?
                }
            },
            Err(error) => return Err(error.into()),
        };
        self.directory_attributes(fd, entry)
    }

    /// The top directory was there before and may belong to somebody else, who decides about it.
    fn top_attributes<R: Read>(&mut self, entry: &Entry<'_, R>) -> io::Result<()> {
        let stat = fs::fstat(self.root)?;
        let own = rustix::process::geteuid().as_raw();
        if own != 0 && own != stat.st_uid {
            return Ok(());
        }
        let fd = fs::openat(self.root, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        self.directory_attributes(fd, entry)
    }

    fn directory_attributes<R: Read>(
        &mut self,
        fd: OwnedFd,
        entry: &Entry<'_, R>,
    ) -> io::Result<()> {
        if entry.header().entry_type() != EntryType::Directory {
            return Ok(());
        }
        self.own(&fd, entry)?;
        // Kept open only while few: deep archives would otherwise run out of descriptors.
        if self.directories.len() >= 256 {
            for (fd, mode, times) in self.directories.drain(..128) {
                fs::fchmod(&fd, mode)?;
                fs::futimens(&fd, &times)?;
            }
        }
        self.directories.push((fd, mode(entry)?, times(entry)?));
        Ok(())
    }

    fn hard_link<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry<'_, R>,
    ) -> io::Result<()> {
        let target = link_name(entry)?;
        let names = components(Path::new(&target)).map_err(|_| {
            refused(format!("a hard link to `{}` leaves the volume", display(&target)))
        })?;
        let names = self.part.wanted(names).ok_or_else(|| {
            refused(format!("a hard link to `{}`, which is not extracted", display(&target)))
        })?;
        let Some((last, parents)) = names.split_last() else {
            return Err(refused("a hard link to the volume's top directory"));
        };
        let parents: PathBuf = parents.iter().collect();
        let from = if parents.as_os_str().is_empty() {
            self.root.try_clone()?
        } else {
            open_directory(self.root, &parents).map_err(|error| {
                refused(format!(
                    "cannot reach the hard link's target `{}`: {error}",
                    display(&target)
                ))
            })?
        };
        let same = |a: &fs::Stat, b: &fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let source = fs::statat(&from, last, AtFlags::SYMLINK_NOFOLLOW)?;
        if fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| same(&s, &source)) {
            return Ok(());
        }
        remove_other(parent, name)?;
        Ok(fs::linkat(&from, last, parent, name, AtFlags::empty())?)
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        if entry.size() > self.bytes_left {
            return Err(refused("the archive holds more bytes than a volume may"));
        }
        self.bytes_left -= entry.size();
        remove_other(parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = std::fs::File::from(fd);
        copy_sparse(entry, &mut file)?;
        self.own(&file, entry)?;
        self.attributes(&file, entry)?;
        fs::fchmod(&file, mode(entry)?)?;
        Ok(fs::futimens(&file, &times(entry)?)?)
    }

    /// File capabilities and `user.*` attributes; never those that steer overlayfs.
    fn attributes<R: Read>(
        &self,
        file: &std::fs::File,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
        for extension in extensions {
            let extension = extension?;
            let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
            let wanted = (name == b"security.capability" && self.owners)
                || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
            if wanted {
                let flags = fs::XattrFlags::empty();
                match fs::fsetxattr(file, name, extension.value_bytes(), flags) {
                    // A file system without them is no reason to refuse the archive.
                    Ok(()) | Err(rustix::io::Errno::NOTSUP) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn own<F: AsFd, R: Read>(&self, fd: F, entry: &Entry<'_, R>) -> io::Result<()> {
        if !self.owners {
            return Ok(());
        }
        let (uid, gid) = owner(entry)?;
        Ok(fs::fchown(fd, Some(uid), Some(gid))?)
    }

    fn link_attributes<R: Read>(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry<'_, R>,
    ) -> io::Result<()> {
        if self.owners {
            let (uid, gid) = owner(entry)?;
            fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(fs::utimensat(parent, name, &times(entry)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn finish(self) -> io::Result<u64> {
        for (fd, mode, times) in self.directories.into_iter().rev() {
            fs::fchmod(&fd, mode)?;
            fs::futimens(&fd, &times)?;
        }
        Ok(self.extracted)
    }
}

fn display(bytes: &OsStr) -> std::path::Display<'_> {
    Path::new(bytes).display()
}

fn refused(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Opens a directory below `root` by a path whose links may not leave it.
pub fn open_directory(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    loop {
        match fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // The kernel asks to try again when something was renamed meanwhile.
            Err(rustix::io::Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn open_here(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Makes way for a new file; a directory in its place is an error.
fn remove_other(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> io::Result<OsString> {
    let Some(target) = entry.link_name_bytes() else {
        return Err(refused("a link without a target"));
    };
    if target.len() > MAX_PATH {
        return Err(refused("a link's target is longer than 4096 bytes"));
    }
    Ok(OsStr::from_bytes(&target).to_owned())
}

fn mode<R: Read>(entry: &Entry<'_, R>) -> io::Result<Mode> {
    Ok(Mode::from_raw_mode(entry.header().mode()? & 0o7777))
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    let id = |value: u64| {
        u32::try_from(value)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| refused(format!("an entry's owner {value} is out of range")))
    };
    let header = entry.header();
    Ok((Uid::from_raw(id(header.uid()?)?), Gid::from_raw(id(header.gid()?)?)))
}

fn times<R: Read>(entry: &Entry<'_, R>) -> io::Result<Timestamps> {
    let seconds = i64::try_from(entry.header().mtime()?).unwrap_or(i64::MAX >> 20);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(Timestamps { last_access: time, last_modification: time })
}

/// Copies all of `from`, leaving blocks of zeros as holes.
fn copy_sparse(from: &mut impl Read, to: &mut std::fs::File) -> io::Result<()> {
    let mut buffer = vec![0u8; 64 * BLOCK];
    let mut length = 0u64;
    let mut pending_hole = 0i64;
    loop {
        let filled = fill(from, &mut buffer)?;
        if filled == 0 {
            break;
        }
        length += filled as u64;
        for block in buffer[..filled].chunks(BLOCK) {
            if block.len() == BLOCK && block.iter().all(|byte| *byte == 0) {
                pending_hole += BLOCK as i64;
                continue;
            }
            if pending_hole > 0 {
                to.seek(SeekFrom::Current(pending_hole))?;
                pending_hole = 0;
            }
            to.write_all(block)?;
        }
    }
    if pending_hole > 0 {
        to.set_len(length)?;
    }
    Ok(())
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
