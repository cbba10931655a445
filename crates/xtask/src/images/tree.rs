//! A root file system in memory, and its bytes as a layer: the same content gives the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

/// The files of an image by their paths, which have no leading slash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    uid: u64,
    gid: u64,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    /// Shared, since packages hold the same file under several names.
    File(Arc<Vec<u8>>),
    Link(PathBuf),
}

impl Tree {
    /// The directories every root has, with `/bin`, `/sbin` and `/lib*` as links into `/usr` as Debian has them.
    pub(crate) fn root() -> Self {
        let mut tree = Self::default();
        for path in ["dev", "etc", "proc", "run", "sys", "usr/bin", "usr/lib", "usr/sbin", "var"] {
            tree.directory(path, 0o755);
        }
        tree.directory("usr/lib64", 0o755);
        tree.directory("root", 0o700);
        for path in ["tmp", "var/tmp"] {
            tree.directory(path, 0o1777);
        }
        for path in ["bin", "lib", "lib64", "sbin"] {
            tree.link(path, &format!("usr/{path}"));
        }
        tree.link("var/run", "/run");
        tree
    }

    pub(crate) fn directory(&mut self, path: impl AsRef<Path>, mode: u32) {
        self.insert(path.as_ref(), Entry { mode, uid: 0, gid: 0, kind: Kind::Directory });
    }

    pub(crate) fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: impl Into<Vec<u8>>) {
        let kind = Kind::File(Arc::new(content.into()));
        self.insert(path.as_ref(), Entry { mode, uid: 0, gid: 0, kind });
    }

    pub(crate) fn link(&mut self, path: impl AsRef<Path>, target: &str) {
        let kind = Kind::Link(PathBuf::from(target));
        self.insert(path.as_ref(), Entry { mode: 0o777, uid: 0, gid: 0, kind });
    }

    /// Puts the same file at another path: in the layer it is there once.
    pub(crate) fn same(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let from = self.resolve(from.as_ref());
        if let Some(entry) = self.entries.get(&from).cloned() {
            self.insert(to.as_ref(), entry);
        }
    }

    /// Gives a path, which must be there, to a user.
    pub(crate) fn owned(&mut self, path: impl AsRef<Path>, uid: u64, gid: u64) {
        let path = self.resolve(path.as_ref());
        if let Some(entry) = self.entries.get_mut(&path) {
            entry.uid = uid;
            entry.gid = gid;
        }
    }

    /// The content of a file; None when there is no such file.
    pub(crate) fn content(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        match &self.entries.get(&self.resolve(path.as_ref()))?.kind {
            Kind::File(content) => Some(content),
            Kind::Directory | Kind::Link(_) => None,
        }
    }

    /// Whether anything is at a path.
    pub(crate) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.entries.contains_key(&self.resolve(path.as_ref()))
    }

    /// The paths below a directory, in order.
    pub(crate) fn below(&self, directory: &str) -> impl Iterator<Item = &Path> {
        let directory = self.resolve(Path::new(directory));
        self.entries.keys().filter(move |path| path.starts_with(&directory)).map(PathBuf::as_path)
    }

    /// Removes what `unwanted` says of paths, which have no leading slash.
    pub(crate) fn remove(&mut self, unwanted: impl Fn(&Path) -> bool) {
        self.entries.retain(|path, _| !unwanted(path));
    }

    /// Adds what a tar holds.
    pub(crate) fn unpack(&mut self, tar: impl Read) -> anyhow::Result<()> {
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let header = entry.header();
            let (mode, uid, gid) = (header.mode()? & 0o7777, header.uid()?, header.gid()?);
            let path = plain(&entry.path()?)?;
            let kind = match header.entry_type() {
                tar::EntryType::Directory => Kind::Directory,
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    Kind::File(Arc::new(content))
                }
                tar::EntryType::Symlink => {
                    let target = entry.link_name()?.context("a symbolic link without target")?;
                    Kind::Link(target.into_owned())
                }
                tar::EntryType::Link => {
                    let target = entry.link_name()?.context("a hard link without target")?;
                    let target = self.resolve(&plain(&target)?);
                    let linked = self.entries.get(&target).with_context(|| {
                        format!(
                            "{} links to {}, which is missing",
                            path.display(),
                            target.display()
                        )
                    })?;
                    linked.kind.clone()
                }
                other => bail!("{} is of kind {other:?}, which no package needs", path.display()),
            };
            self.insert(&path, Entry { mode, uid, gid, kind });
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, entry: Entry) {
        let path = self.resolve(path);
        if path.as_os_str().is_empty() {
            return;
        }
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            let directory = Entry { mode: 0o755, uid: 0, gid: 0, kind: Kind::Directory };
            self.entries.entry(parent.to_owned()).or_insert(directory);
        }
        let keep = entry.kind == Kind::Directory
            && self.entries.get(&path).is_some_and(|old| matches!(old.kind, Kind::Link(_)));
        if !keep {
            self.entries.insert(path, entry);
        }
    }

    /// The path with a link as its first part followed, as in `/bin`; deeper links are left alone.
    fn resolve(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").unwrap_or(path);
        let mut parts = path.components();
        let Some(first) = parts.next() else { return path.to_owned() };
        let rest = parts.as_path();
        match self.entries.get(Path::new(&first)).map(|entry| &entry.kind) {
            Some(Kind::Link(target)) if !rest.as_os_str().is_empty() => target.join(rest),
            _ => path.to_owned(),
        }
    }

    /// Writes a tar with everything in order of paths, all of the same time.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        let mut written: BTreeMap<_, &Path> = BTreeMap::new();
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_uid(entry.uid);
            header.set_gid(entry.gid);
            header.set_mtime(0);
            header.set_size(0);
            match &entry.kind {
                Kind::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, path, io::empty())?;
                }
                Kind::File(content) => {
                    let file = (Arc::as_ptr(content), entry.mode, entry.uid, entry.gid);
                    if let Some(first) = written.get(&file) {
                        header.set_entry_type(tar::EntryType::Link);
                        tar.append_link(&mut header, path, first)?;
                        continue;
                    }
                    written.insert(file, path);
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Kind::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        tar.finish()
    }
}

/// A path as packages write them, without `./` in front.
fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                bail!("the path {} leads out of its package", path.display())
            }
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests;
