//! Directories that a layer implies by having something in them, without saying how they shall be.
//!
//! Unpacked over each other, such layers leave the directory as a lower layer made it. In a stack of directories the
//! topmost one counts, with the attributes it happened to get. So the volume's own directory, which covers all layers,
//! repeats those directories as they shall be.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat, Timespec, Timestamps};

use super::{Inner, rootfs};
use jb_archive::merged::{MergedDir, Node};

/// All that the layers of an image imply.
pub(super) struct Implied {
    /// By layer, topmost first.
    paths: Vec<Vec<PathBuf>>,
    /// Device and inode of each.
    nodes: BTreeSet<(u64, u64)>,
}

pub(super) fn find(inner: &Inner, layers: &[String]) -> io::Result<Implied> {
    let (mut paths, mut nodes) = (Vec::new(), BTreeSet::new());
    for id in layers {
        let implied = inner.store.layers().implied(id).map_err(io::Error::other)?;
        if !implied.is_empty()
            && let Some(root) = rootfs(inner, std::slice::from_ref(id))?
        {
            for path in &implied {
                if let Some(directory) = walk(&root, path)?.pop() {
                    nodes.insert(node(&directory.stat()?));
                }
            }
        }
        paths.push(implied);
    }
    Ok(Implied { paths, nodes })
}

impl Implied {
    /// Whether a layer implies a directory where a lower one has something else, such as a link that leads elsewhere.
    pub(super) fn contradicts(&self, inner: &Inner, layers: &[String]) -> io::Result<bool> {
        for (n, implied) in self.paths.iter().enumerate() {
            if implied.is_empty() {
                continue;
            }
            let Some(below) = rootfs(inner, &layers[n + 1..])? else { continue };
            for path in implied {
                let (parent, name) =
                    (path.parent().unwrap_or_else(|| Path::new("")), path.file_name());
                let walked = walk(&below, parent)?;
                let directory = match (parent.components().count(), walked.last()) {
                    (0, _) => &below,
                    (depth, Some(directory)) if walked.len() == depth => directory,
                    _ => continue,
                };
                let found = name.map(|name| directory.child(name)).transpose()?.flatten();
                if matches!(found, Some(Node::Other(_))) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Repeats implied directories below `own`, the root that covers `image`.
    pub(super) fn describe(&self, image: &MergedDir, own: &Path) -> io::Result<()> {
        let mut wanted = BTreeMap::new();
        for path in self.paths.iter().flatten() {
            let walked = walk(image, path)?;
            // What is not there any more, hidden by a layer further up, needs no description.
            let directory = walked.last().filter(|_| walked.len() == path.components().count());
            if directory.map(|found| self.description(found)).transpose()?.flatten().is_none() {
                continue;
            }
            let mut parents = PathBuf::new();
            for (name, directory) in path.components().zip(&walked) {
                parents.push(name);
                let stat = self.description(directory)?.map_or_else(|| directory.stat(), Ok)?;
                wanted.insert(parents.clone(), stat);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.insert(PathBuf::new(), image.stat()?);
        for (path, stat) in &wanted {
            let path = own.join(path);
            std::fs::DirBuilder::new().mode(0o700).create(&path)?;
            if crate::privilege::is_root() {
                chown(&path, Some(stat.st_uid), Some(stat.st_gid))?;
            }
        }
        // What is in a directory comes first: its mode may forbid more, and its time would change.
        for (path, stat) in wanted.iter().rev() {
            let path = own.join(path);
            crate::store::set_mode(&path, stat.st_mode & 0o7777)?;
            let tv_nsec = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
            let time = Timespec { tv_sec: stat.st_mtime, tv_nsec };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// How a lower layer describes a directory that the topmost one that has it merely implies.
    fn description(&self, directory: &MergedDir) -> io::Result<Option<Stat>> {
        let mut stats = directory.layers().map(|fd: BorrowedFd<'_>| rustix::fs::fstat(fd.as_fd()));
        let Some(top) = stats.next().transpose()? else { return Ok(None) };
        if !self.nodes.contains(&node(&top)) {
            return Ok(None);
        }
        for stat in stats {
            let stat = stat?;
            if !self.nodes.contains(&node(&stat)) {
                return Ok(Some(stat));
            }
        }
        Ok(None)
    }
}

/// The directories on the way to a path, as far as there are any.
fn walk(root: &MergedDir, path: &Path) -> io::Result<Vec<MergedDir>> {
    let mut walked: Vec<MergedDir> = Vec::new();
    for name in path.components() {
        match walked.last().unwrap_or(root).child(name.as_os_str())? {
            Some(Node::Directory(directory)) => walked.push(directory),
            _ => break,
        }
    }
    Ok(walked)
}

fn node(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
