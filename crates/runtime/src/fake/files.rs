//! Files in memory: volumes, and what a container makes of them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path};

use tokio::io::AsyncReadExt as _;

use super::{Container, State};
use crate::{ByteStream, Error, Link, MountSource, Result};

/// Archives are held in memory whole.
const ARCHIVE_BYTES_MAX: u64 = 256 << 20;

/// Links that are followed for one path; more are a circle.
const LINKS_MAX: usize = 40;
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    File {
        mode: u32,
        content: Vec<u8>,
    },
    Directory {
        mode: u32,
    },
    Link {
        target: String,
    },
    /// Another name for a file of the same tree.
    Twin {
        of: String,
    },
}

/// A directory: what is in it, by the path below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<String, Entry>);

/// A path below another: without `.`, `..`, doubled slashes and a slash in front.
pub(super) fn relative(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    parts.collect::<Vec<_>>().join("/")
}

/// A path as seen from a directory.
pub(super) fn absolute(dir: &str, path: &str) -> String {
    if path.starts_with('/') {
        format!("/{}", relative(path))
    } else {
        format!("/{}", relative(&format!("{dir}/{path}")))
    }
}

/// What is below `dir`; the empty path for itself.
fn below<'a>(dir: &str, path: &'a str) -> Option<&'a str> {
    if dir.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(dir)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl Tree {
    /// A file's content, through links that stay inside.
    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        let mut path = relative(path);
        for _ in 0..LINKS_MAX {
            match self.0.get(&path)? {
                Entry::File { content, .. } => return Some(content),
                Entry::Directory { .. } => return None,
                Entry::Link { target } => path = inside(&path, target)?,
                Entry::Twin { of } => path.clone_from(of),
            }
        }
        None
    }

    pub(super) fn write(&mut self, path: &str, content: Vec<u8>) {
        self.0.insert(relative(path), Entry::File { mode: FILE_MODE, content });
    }

    pub(super) fn make_dir(&mut self, path: &str) {
        self.0.entry(relative(path)).or_insert(Entry::Directory { mode: DIR_MODE });
    }

    /// Removes a file, or a directory with all that is in it; false when there is neither.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        let path = relative(path);
        let before = self.0.len();
        self.0.retain(|other, _| below(&path, other).is_none());
        self.0.len() < before
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(&relative(path)) || self.has_dir(path)
    }

    pub(super) fn has_dir(&self, path: &str) -> bool {
        let path = relative(path);
        self.0.iter().any(|(other, entry)| match below(&path, other) {
            Some("") => matches!(entry, Entry::Directory { .. }),
            Some(_) => true,
            None => false,
        })
    }

    /// Names directly in a directory, in order.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let path = relative(path);
        let inside = self.0.keys().filter_map(|other| below(&path, other));
        let mut names: Vec<String> = inside
            .filter_map(|rest| rest.split('/').next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        names.dedup();
        names
    }

    pub(super) fn add(&mut self, dir: &str, entries: Self) {
        let place = |path: &str| relative(&format!("{dir}/{path}"));
        self.0.extend(entries.0.into_iter().map(|(path, entry)| match entry {
            Entry::Twin { of } => (place(&path), Entry::Twin { of: place(&of) }),
            other => (place(&path), other),
        }));
    }

    /// A tar archive of a directory, or of one file.
    pub(super) fn pack(&self, path: &str) -> Result<Vec<u8>> {
        let path = relative(path);
        let failed = |error| Error::io(format!("archive {path}"), error);
        let mut archive = tar::Builder::new(Vec::new());
        let mut found = path.is_empty();
        for (other, entry) in &self.0 {
            let Some(rest) = below(&path, other) else { continue };
            found = true;
            let own_name = || other.rsplit('/').next().unwrap_or_default();
            let name = match (rest, entry) {
                ("", Entry::Directory { .. }) => continue,
                ("", _) => own_name(),
                (rest, _) => rest,
            };
            entry.pack(name, &mut archive).map_err(failed)?;
        }
        if !found {
            return Err(failed(std::io::ErrorKind::NotFound.into()));
        }
        archive.into_inner().map_err(failed)
    }
}

impl Entry {
    fn pack(&self, name: &str, archive: &mut tar::Builder<Vec<u8>>) -> std::io::Result<()> {
        let mut header = tar::Header::new_gnu();
        match self {
            Self::File { mode, content } => {
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, name, content.as_slice())
            }
            Self::Directory { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                archive.append_data(&mut header, name, std::io::empty())
            }
            Self::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                archive.append_link(&mut header, name, target)
            }
            Self::Twin { of } => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_mode(FILE_MODE);
                header.set_size(0);
                archive.append_link(&mut header, name, of)
            }
        }
    }
}

/// Where a link leads; nothing when that is outside.
fn inside(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The files of a tar archive. Entries that would leave it are refused.
pub(super) async fn unpack(tar: ByteStream) -> Result<Tree> {
    let failed = |error| Error::io("read a tar archive", error);
    let mut bytes = Vec::new();
    tar.take(ARCHIVE_BYTES_MAX).read_to_end(&mut bytes).await.map_err(failed)?;
    let mut tree = Tree::default();
    for entry in tar::Archive::new(bytes.as_slice()).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let target = entry.link_name().map_err(failed)?;
        let target = target.map(|target| target.to_string_lossy().into_owned());
        let mode = entry.header().mode().map_err(failed)? & 0o7777;
        let refused = |why: &str| {
            let context = format!("unpack a tar archive: `{path}` {why}");
            Error::io(context, std::io::ErrorKind::InvalidInput.into())
        };
        if !is_inside(&path) || tree.is_below_link(&path) {
            return Err(refused("leads out of it"));
        }
        let kept = match (entry.header().entry_type(), target) {
            (tar::EntryType::Directory, _) => Entry::Directory { mode },
            (tar::EntryType::Symlink, Some(target)) => Entry::Link { target },
            (tar::EntryType::Link, Some(target)) => {
                let of = relative(&target);
                if !is_inside(&target) || !matches!(tree.0.get(&of), Some(Entry::File { .. })) {
                    return Err(refused("is a link to no file of it"));
                }
                Entry::Twin { of }
            }
            (tar::EntryType::Regular, _) => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(failed)?;
                Entry::File { mode, content }
            }
            (other, _) => return Err(refused(&format!("is of the kind {other:?}"))),
        };
        tree.0.insert(relative(&path), kept);
    }
    Ok(tree)
}

/// Names nothing outside: relative, and never up.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

impl Tree {
    fn is_below_link(&self, path: &str) -> bool {
        let path = relative(path);
        let links = self.0.iter().filter(|(_, entry)| matches!(entry, Entry::Link { .. }));
        links.into_iter().any(|(link, _)| below(link, &path).is_some_and(|rest| !rest.is_empty()))
    }
}

impl Container {
    /// The mount that a path is in, with the path below it.
    fn mount<'a>(&self, path: &'a str) -> Option<(&MountSource, String, &'a str)> {
        let mounts = self.spec.mounts.iter().filter_map(|mount| {
            let at = absolute(&self.spec.working_dir, &mount.path);
            let rest = below(&at, path)?;
            Some((&mount.source, at, rest))
        });
        mounts.max_by_key(|(_, at, _)| at.len())
    }
}

impl State {
    /// The tree that holds an absolute path of a container, and the path in it.
    pub(super) fn place<'a>(
        &mut self,
        container: &jb_model::ContainerHandle,
        path: &'a str,
    ) -> Option<(&mut Tree, &'a str)> {
        let container = self.containers.get_mut(container)?;
        let Some((source, at, rest)) = container.mount(path) else {
            return Some((&mut container.root, path));
        };
        match source {
            MountSource::Input { copy: None, .. } => Some((container.copies.get_mut(&at)?, rest)),
            MountSource::Input { copy: Some(volume), .. }
            | MountSource::Output(volume)
            | MountSource::Cache(volume)
            | MountSource::Link(Link { volume, .. }) => Some((self.volumes.get_mut(volume)?, rest)),
        }
    }

    /// Names in a directory of a container, the mounts in it too.
    pub(super) fn list_dir(
        &mut self,
        handle: &jb_model::ContainerHandle,
        path: &str,
    ) -> Option<Vec<String>> {
        let (tree, rest) = self.place(handle, path)?;
        let exists = rest.is_empty() || tree.has_dir(rest);
        let mut names = tree.names(rest);
        let spec = &self.containers.get(handle)?.spec;
        let dir = path.trim_start_matches('/');
        for mount in &spec.mounts {
            let at = absolute(&spec.working_dir, &mount.path);
            if let Some(inner) = below(dir, at.trim_start_matches('/')) {
                names.extend(
                    inner.split('/').next().filter(|name| !name.is_empty()).map(str::to_owned),
                );
            }
        }
        names.sort();
        names.dedup();
        (exists || !names.is_empty()).then_some(names)
    }
}
