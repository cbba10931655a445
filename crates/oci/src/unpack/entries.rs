//! The entries of a tar stream as plain data.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::fs::FileType;

use crate::unpack::UnpackError;
use crate::unpack::tree::Attributes;

/// Headers with their long names and attributes take at most this much between two entries.
const MAX_HEADER: u64 = 4 << 20;
const MAX_XATTRS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) attributes: Attributes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Node {
        kind: FileType,
        device: u64,
    },
    /// Something without a meaning here.
    Other,
}

/// Reads entries while bounding what the tar reader may buffer for a single header.
pub(super) struct Entries<R: Read> {
    archive: tar::Archive<Metered<R>>,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(reader: R) -> Self {
        let allowance = Rc::new(Cell::new(MAX_HEADER));
        let metered = Metered { reader, allowance: allowance.clone() };
        Self { archive: tar::Archive::new(metered), allowance }
    }

    /// Calls `each` for every entry, with its content.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(Entry, &mut dyn Read) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        for entry in self.archive.entries().map_err(UnpackError::Read)? {
            let mut raw = entry.map_err(UnpackError::Read)?;
            self.allowance.set(u64::MAX);
            let entry = read(&mut raw).map_err(UnpackError::Read)?;
            each(entry, &mut raw)?;
            // What was not wanted is read here, so that only headers remain until the next entry.
            io::copy(&mut raw, &mut io::sink()).map_err(UnpackError::Read)?;
            self.allowance.set(MAX_HEADER);
        }
        Ok(())
    }
}

struct Metered<R> {
    reader: R,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let left = self.allowance.get();
        if left != u64::MAX {
            match left.checked_sub(read as u64) {
                Some(left) => self.allowance.set(left),
                None => {
                    return Err(io::Error::other(format!(
                        "a header is larger than {MAX_HEADER} bytes"
                    )));
                }
            }
        }
        Ok(read)
    }
}

fn read<R: Read>(raw: &mut tar::Entry<'_, R>) -> io::Result<Entry> {
    let (mut xattrs, mut mtime) = (Vec::new(), None);
    if let Some(extensions) = raw.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let key = extension.key_bytes();
            if key == b"mtime" {
                mtime = parse_seconds(extension.value_bytes());
            } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                && xattrs.len() < MAX_XATTRS
                && is_allowed(name)
            {
                xattrs.push((name.to_vec(), extension.value_bytes().to_vec()));
            }
        }
    }
    let header = raw.header();
    // Some writers leave numbers out; they mean zero.
    let attributes = Attributes {
        mode: header.mode().unwrap_or(0) & 0o7777,
        uid: u32::try_from(header.uid().unwrap_or(0)).unwrap_or(u32::MAX),
        gid: u32::try_from(header.gid().unwrap_or(0)).unwrap_or(u32::MAX),
        modified: mtime.unwrap_or(
            SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or(0).min(1 << 40)),
        ),
        xattrs,
    };
    let link = || raw.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
    let node = |kind: FileType| -> io::Result<EntryKind> {
        let (major, minor) =
            (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
        Ok(EntryKind::Node { kind, device: rustix::fs::makedev(major, minor) })
    };
    let kind = match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
            EntryKind::File
        }
        tar::EntryType::Directory => EntryKind::Directory,
        tar::EntryType::Symlink => EntryKind::Symlink(link()),
        tar::EntryType::Link => EntryKind::Hardlink(link()),
        tar::EntryType::Char => node(FileType::CharacterDevice)?,
        tar::EntryType::Block => node(FileType::BlockDevice)?,
        tar::EntryType::Fifo => EntryKind::Node { kind: FileType::Fifo, device: 0 },
        _ => EntryKind::Other,
    };
    Ok(Entry { name: raw.path_bytes().into_owned(), kind, attributes })
}

/// Attributes that would change how layers are stacked are not the layer's to set.
fn is_allowed(name: &[u8]) -> bool {
    !name.contains(&0)
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && !name.is_empty()
        && name.len() <= 255
}

/// `1700000000.25`; times before 1970 are left to the header.
fn parse_seconds(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let duration = Duration::new(seconds.parse::<u64>().ok()?.min(1 << 40), digits.parse().ok()?);
    Some(SystemTime::UNIX_EPOCH + duration)
}
