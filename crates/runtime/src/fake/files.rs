//! Files in memory: volumes, and what a container makes of them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path};

use tokio::io::AsyncReadExt as _;

use super::{Container, State};
use crate::{ByteStream, Error, MountSource, Result};

/// Archives are held in memory whole.
const ARCHIVE_BYTES_MAX: u64 = 256 << 20;

/// A directory: its files and directories by their path below it, `None` for a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<String, Option<Vec<u8>>>);

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
    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        self.0.get(&relative(path))?.as_deref()
    }

    pub(super) fn write(&mut self, path: &str, content: Vec<u8>) {
        self.0.insert(relative(path), Some(content));
    }

    pub(super) fn make_dir(&mut self, path: &str) {
        self.0.entry(relative(path)).or_insert(None);
    }

    pub(super) fn has_dir(&self, path: &str) -> bool {
        let path = relative(path);
        self.0.iter().any(|(other, content)| match below(&path, other) {
            Some("") => content.is_none(),
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
        for (path, content) in entries.0 {
            let path = relative(&format!("{dir}/{path}"));
            match content {
                Some(content) => self.write(&path, content),
                None => self.make_dir(&path),
            }
        }
    }

    /// A tar archive of a directory, or of one file.
    pub(super) fn pack(&self, path: &str) -> Result<Vec<u8>> {
        let path = relative(path);
        let failed = |error| Error::io(format!("archive {path}"), error);
        let mut archive = tar::Builder::new(Vec::new());
        let mut found = path.is_empty();
        for (other, content) in &self.0 {
            let Some(rest) = below(&path, other) else { continue };
            found = true;
            let name = match (rest, content) {
                ("", Some(_)) => Path::new(other).file_name().map(|name| name.to_string_lossy()),
                ("", None) => None,
                (rest, _) => Some(rest.into()),
            };
            let Some(name) = name else { continue };
            let mut header = tar::Header::new_gnu();
            header.set_mode(if content.is_some() { 0o644 } else { 0o755 });
            if content.is_none() {
                header.set_entry_type(tar::EntryType::Directory);
            }
            let bytes = content.as_deref().unwrap_or_default();
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name.as_ref(), bytes).map_err(failed)?;
        }
        if !found {
            return Err(failed(std::io::ErrorKind::NotFound.into()));
        }
        archive.into_inner().map_err(failed)
    }
}

/// The files of a tar archive. Entries that would leave it are refused.
pub(super) async fn unpack(tar: ByteStream) -> Result<Tree> {
    let failed = |error| Error::io("read a tar archive", error);
    let mut bytes = Vec::new();
    tar.take(ARCHIVE_BYTES_MAX).read_to_end(&mut bytes).await.map_err(failed)?;
    let mut tree = Tree::default();
    for entry in tar::Archive::new(bytes.as_slice()).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            let context = format!("unpack a tar archive: `{}` leads out of it", path.display());
            return Err(Error::io(context, std::io::ErrorKind::InvalidInput.into()));
        }
        let path = path.to_string_lossy().into_owned();
        if entry.header().entry_type().is_dir() {
            tree.make_dir(&path);
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(failed)?;
            tree.write(&path, content);
        }
    }
    Ok(tree)
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
            | MountSource::Cache(volume) => Some((self.volumes.get_mut(volume)?, rest)),
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
                names.extend(inner.split('/').next().filter(|name| !name.is_empty()).map(str::to_owned));
            }
        }
        names.sort();
        names.dedup();
        (exists || !names.is_empty()).then_some(names)
    }
}
