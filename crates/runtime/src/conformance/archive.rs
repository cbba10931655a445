//! Archives for the checks, honest and hostile.

use std::io::Cursor;

use tar::{Builder, EntryType, Header};

use crate::ByteStream;

pub(super) enum Kind<'a> {
    File(&'a str),
    Directory,
    Symlink(&'a str),
    HardLink(&'a str),
    Device,
}

pub(super) struct Entry<'a> {
    /// Taken as it is, however hostile.
    pub(super) path: &'a str,
    pub(super) mode: u32,
    pub(super) kind: Kind<'a>,
}

pub(super) const fn file<'a>(path: &'a str, content: &'a str) -> Entry<'a> {
    Entry { path, mode: 0o644, kind: Kind::File(content) }
}

pub(super) const fn symlink<'a>(path: &'a str, target: &'a str) -> Entry<'a> {
    Entry { path, mode: 0o777, kind: Kind::Symlink(target) }
}

/// The time all entries have.
pub(super) const MTIME: u64 = 1_600_000_000;

pub(super) fn stream(entries: &[Entry<'_>]) -> ByteStream {
    Box::new(Cursor::new(bytes(entries)))
}

fn bytes(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let (kind, content, target) = match entry.kind {
            Kind::File(content) => (EntryType::Regular, content, ""),
            Kind::Directory => (EntryType::Directory, "", ""),
            Kind::Symlink(target) => (EntryType::Symlink, "", target),
            Kind::HardLink(target) => (EntryType::Link, "", target),
            Kind::Device => (EntryType::Block, "", ""),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(entry.mode);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        // The crate's own setters refuse what must be tried here.
        let old = header.as_old_mut();
        old.name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        // Writing to memory does not fail; a short archive would make the check fail anyway.
        builder.append(&header, content.as_bytes()).ok();
    }
    builder.into_inner().unwrap_or_default()
}

/// What an archive holds: path, type letter, mode, and content or link target; sorted by path.
pub(super) fn list(archive: &[u8]) -> Result<Vec<(String, char, u32, String)>, String> {
    let explain = |error: std::io::Error| format!("the archive cannot be read: {error}");
    let mut listed = Vec::new();
    for entry in tar::Archive::new(archive).entries().map_err(explain)? {
        let mut entry = entry.map_err(explain)?;
        let path = entry.path().map_err(explain)?.display().to_string();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let mode = entry.header().mode().map_err(explain)? & 0o7777;
        let letter = match entry.header().entry_type() {
            EntryType::Directory => 'd',
            EntryType::Symlink => 'l',
            EntryType::Link => 'h',
            _ => '-',
        };
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).map_err(explain)?;
        if let Some(target) = entry.link_name().map_err(explain)? {
            content = target.display().to_string().trim_start_matches("./").as_bytes().to_vec();
        }
        // The top directory may or may not have an entry.
        if !path.is_empty() && path != "." {
            listed.push((path, letter, mode, String::from_utf8_lossy(&content).into_owned()));
        }
    }
    listed.sort();
    Ok(listed)
}
