//! Finding one file in an archive without extracting it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jb_archive::merged::components;
use tar::EntryType;

/// How many links one path may go through.
const MAX_LINKS: usize = 40;

enum Entry {
    Directory,
    /// Its number in the archive.
    File(u64),
    Symlink(PathBuf),
    Other,
}

/// What an archive holds, by path.
pub(super) struct Tree(HashMap<PathBuf, Entry>);

impl Tree {
    pub(super) fn read(tar: impl Read) -> io::Result<Self> {
        let mut entries = HashMap::new();
        for (number, entry) in (0..).zip(tar::Archive::new(tar).entries()?) {
            let entry = entry?;
            let path: PathBuf = components(&entry.path()?)?.iter().collect();
            let target = || -> io::Result<PathBuf> {
                Ok(entry.link_name()?.map(|name| name.into_owned()).unwrap_or_default())
            };
            let kind = match entry.header().entry_type() {
                EntryType::Directory => Entry::Directory,
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    Entry::File(number)
                }
                EntryType::Symlink => Entry::Symlink(target()?),
                EntryType::Link => {
                    let target: PathBuf = components(&target()?)?.iter().collect();
                    match entries.get(&target) {
                        Some(Entry::File(number)) => Entry::File(*number),
                        Some(Entry::Symlink(target)) => Entry::Symlink(target.clone()),
                        _ => Entry::Other,
                    }
                }
                EntryType::XGlobalHeader => continue,
                _ => Entry::Other,
            };
            entries.insert(path, kind);
        }
        Ok(Self(entries))
    }

    /// The number of the file at a path, whose links are followed within the archive.
    pub(super) fn file(&self, path: &Path) -> io::Result<Option<u64>> {
        let leads_out = || {
            let message = format!("path `{}` leads out of the volume", path.display());
            io::Error::new(io::ErrorKind::PermissionDenied, message)
        };
        let mut pending: Vec<OsString> = components(path)?;
        pending.reverse();
        let mut walked = PathBuf::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                if !walked.pop() {
                    return Err(leads_out());
                }
                continue;
            }
            walked.push(name);
            match self.0.get(&walked) {
                Some(Entry::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(rustix::io::Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        return Err(leads_out());
                    }
                    walked.pop();
                    let names = target.iter().rev().filter(|name| *name != ".");
                    pending.extend(names.map(OsString::from));
                }
                Some(Entry::File(number)) if pending.is_empty() => return Ok(Some(*number)),
                Some(Entry::File(_) | Entry::Other) => return Ok(None),
                // Archives need not have entries for directories; the next name tells.
                Some(Entry::Directory) | None => {}
            }
        }
        Ok(None)
    }
}

/// The content of an archive's file by its number.
pub(super) fn content(tar: impl Read, number: u64, limit: usize) -> io::Result<Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let entry = (0..).zip(archive.entries()?).find(|(n, _)| *n == number);
    let (_, entry) = entry.ok_or(io::ErrorKind::NotFound)?;
    let mut content = Vec::new();
    entry?.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit {
        let message = format!("it is larger than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}
