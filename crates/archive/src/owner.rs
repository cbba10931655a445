//! Whose directories are.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// Directories within directories that are looked into.
const DEPTH_MAX: usize = 256;

/// Gives everything in a directory to a user, but for read-only file systems that are mounted in it.
pub fn give_tree(path: &Path, user: u32, group: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(give(&top, (Some(Uid::from_raw(user)), Some(Gid::from_raw(group))), 0)?)
}

/// As [`give_tree`], unless the directory itself shows that it was done before.
pub fn give_tree_once(path: &Path, user: u32, group: u32) -> io::Result<()> {
    if is_owned_by(path, user, group)? { Ok(()) } else { give_tree(path, user, group) }
}

/// Whether a directory itself is a user's.
pub fn is_owned_by(path: &Path, user: u32, group: u32) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.uid(), metadata.gid()) == (user, group))
}

fn give(
    directory: &OwnedFd,
    owner: (Option<Uid>, Option<Gid>),
    depth: usize,
) -> rustix::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    match rustix::fs::fchown(directory.as_fd(), owner.0, owner.1) {
        Err(Errno::ROFS) if depth > 0 => return Ok(()),
        given => given?,
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            give(&child, owner, depth + 1)?;
        } else {
            rustix::fs::chownat(directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}
