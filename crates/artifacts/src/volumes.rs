//! The directory of volumes.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jb_archive::merged::{MergedDir, components};
use jb_archive::pack;
use jb_archive::unpack::{Bounds, open_directory, unpack};

use crate::name;

/// Entries that one archive may have.
const MAX_ENTRIES: u64 = 10_000_000;
/// Fast, and small enough that reading it back from a network is faster than it would be unpacked.
const LEVEL: i32 = 1;
/// Between decompression and whoever reads.
const BUFFER: usize = 256 << 10;
const ARCHIVE: &str = ".tar.zst";
const IMAGE: &str = ".image.json";
/// What a writer that died left is removed after this many seconds.
const ABANDONED_AFTER: u64 = 24 * 60 * 60;

#[derive(Debug)]
pub enum Error {
    NoVolume(String),
    /// What was attempted, and why it failed.
    Io(String, io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoVolume(handle) => write!(f, "volume `{handle}` does not exist"),
            Self::Io(context, error) => write!(f, "{context}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

fn failed(context: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Io(context.into(), error)
}

/// What a volume is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Archive,
    /// Where an image is to be had, as JSON whose meaning is its writer's.
    Image,
}

impl Kind {
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Archive => ARCHIVE,
            Self::Image => IMAGE,
        }
    }
}

/// Volumes in a directory. Any number of processes may use it at the same time.
pub struct Volumes {
    /// Whole volumes.
    dir: PathBuf,
    /// What is being written, on the same file system.
    partial: PathBuf,
    /// For what has to be unpacked to be worked on.
    scratch: PathBuf,
}

/// Makes names of this process's files differ.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Volumes {
    /// Volumes below `root`, which [`Self::prepare`] has been called for.
    pub fn new(root: &Path, scratch: &Path) -> Self {
        Self {
            dir: root.join("volumes"),
            partial: root.join("partial"),
            scratch: scratch.to_owned(),
        }
    }

    /// Makes the directories, for every member of `group` to write in, and removes what writers that died left.
    pub fn prepare(&self, group: Option<u32>) -> Result<(), Error> {
        for dir in [&self.dir, &self.partial] {
            let make = || -> io::Result<()> {
                match fs::create_dir_all(dir) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
                let metadata = fs::metadata(dir)?;
                let mode = if group.is_some() { 0o2770 } else { 0o700 };
                if metadata.permissions().mode() & 0o7777 == mode {
                    return Ok(());
                }
                if let Some(group) = group {
                    std::os::unix::fs::chown(dir, None, Some(group))?;
                }
                fs::set_permissions(dir, fs::Permissions::from_mode(mode))
            };
            make().map_err(failed(format!("prepare {}", dir.display())))?;
        }
        self.remove_abandoned();
        Ok(())
    }

    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(&self.partial) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            if age.as_secs() > ABANDONED_AFTER {
                // Somebody else may be faster; what stays is tried again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, handle: &str, kind: Kind) -> Result<PathBuf, Error> {
        let name = name::file_name(handle, kind).ok_or_else(|| {
            let error = io::Error::from(io::ErrorKind::InvalidFilename);
            Error::Io(format!("use the volume `{handle}`"), error)
        })?;
        Ok(self.dir.join(name))
    }

    /// What a volume is kept as, if it is there.
    pub fn kind(&self, handle: &str) -> Result<Option<Kind>, Error> {
        for kind in [Kind::Archive, Kind::Image] {
            let path = self.path(handle, kind)?;
            if path.try_exists().map_err(failed(format!("look for {}", path.display())))? {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    /// The handles of all volumes, sorted.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let context = || format!("list {}", self.dir.display());
        let mut handles = Vec::new();
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(handles),
            entries => entries.map_err(failed(context()))?,
        };
        for entry in entries {
            let file = entry.map_err(failed(context()))?.file_name();
            handles.extend(file.to_str().and_then(name::handle_of_file));
        }
        handles.sort();
        handles.dedup();
        Ok(handles)
    }

    /// Finds or creates an empty volume.
    pub fn create(&self, handle: &str) -> Result<(), Error> {
        if self.kind(handle)?.is_some() {
            return Ok(());
        }
        self.write(handle, Kind::Archive, write_empty)
    }

    /// Makes a directory's content the volume's, in place of what it may have been.
    pub fn publish(&self, handle: &str, source: &Path) -> Result<(), Error> {
        self.write(handle, Kind::Archive, |out| pack_archive(source, out))
    }

    /// Makes an archive the volume's as it is, in place of what it may have been.
    pub fn put_archive(&self, handle: &str, archive: &mut impl Read) -> Result<(), Error> {
        self.write(handle, Kind::Archive, |mut out| io::copy(archive, &mut out).map(|_| out))
    }

    /// Keeps where an image is to be had.
    pub fn put_image(&self, handle: &str, json: &[u8]) -> Result<(), Error> {
        self.write(handle, Kind::Image, |mut out| out.write_all(json).map(|()| out))
    }

    /// What [`Self::put_image`] kept.
    pub fn image(&self, handle: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(handle, Kind::Image)?;
        match fs::read(&path) {
            Ok(json) => Ok(Some(json)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Io(format!("read {}", path.display()), error)),
        }
    }

    fn write(
        &self,
        handle: &str,
        kind: Kind,
        fill: impl FnOnce(BufWriter<File>) -> io::Result<BufWriter<File>>,
    ) -> Result<(), Error> {
        let path = self.path(handle, kind)?;
        let partial = self.partial.join(unique(handle));
        let write = || -> io::Result<()> {
            let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).clone();
            let file = options.open(&partial)?;
            let mut out = fill(BufWriter::with_capacity(BUFFER, file))?;
            out.flush()?;
            // Whole on the disk before it is there under its name.
            out.get_ref().sync_all()?;
            fs::rename(&partial, &path)
        };
        let written = write();
        if written.is_err() {
            // It may not even have come to be.
            let _ = fs::remove_file(&partial);
        }
        written.map_err(failed(format!("write volume `{handle}`")))
    }

    fn open_archive(&self, handle: &str) -> Result<File, Error> {
        let path = self.path(handle, Kind::Archive)?;
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoVolume(handle.to_owned()),
            _ => Error::Io(format!("open {}", path.display()), error),
        })
    }

    fn open(&self, handle: &str) -> Result<impl Read + use<>, Error> {
        decoder(self.open_archive(handle)?).map_err(failed(format!("read volume `{handle}`")))
    }

    /// Extracts a volume into a directory, made when missing. Everything in it belongs to this process's user,
    /// unless `owners` says to keep them. Of an image that lies elsewhere only its small files are there.
    pub fn extract(&self, handle: &str, target: &Path, owners: bool) -> Result<(), Error> {
        if let Some(json) = self.image(handle)? {
            return image::extract_files(handle, &json, target);
        }
        extract_archive(handle, self.open_archive(handle)?, target, owners)
    }

    /// Extracts a plain tar archive into the directory `path` of a volume, with all that is there already.
    pub fn add(&self, handle: &str, path: &str, tar: impl Read, limit: u64) -> Result<(), Error> {
        let existing = self.open(handle)?;
        let scratch = Scratch::make(&self.scratch, handle)?;
        let add = |mut existing, mut tar| -> io::Result<()> {
            let root = directory(&scratch.0)?;
            extract(&mut existing, &root, u64::MAX, false)?;
            let target = make_directories(&root, Path::new(path))?;
            extract(&mut tar, &target, limit, false)
        };
        let context = format!("extract an archive into `{path}` of volume `{handle}`");
        add(existing, tar).map_err(failed(context))?;
        self.publish(handle, &scratch.0)
    }

    /// Writes a plain tar archive of a directory, or of one file, of a volume.
    pub fn archive(&self, handle: &str, path: &str, mut out: impl Write) -> Result<(), Error> {
        let mut content = self.open(handle)?;
        let context = || format!("read `{path}` of volume `{handle}`");
        if components(Path::new(path)).map_err(failed(context()))?.is_empty() {
            return io::copy(&mut content, &mut out).map(drop).map_err(failed(context()));
        }
        let scratch = Scratch::make(&self.scratch, handle)?;
        let pack = |mut content| -> io::Result<()> {
            extract(&mut content, &directory(&scratch.0)?, u64::MAX, false)?;
            match MergedDir::open(&[&scratch.0])?.resolve(Path::new(path))? {
                Some(node) => pack::pack(&node, out),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        };
        pack(content).map_err(failed(context()))
    }

    /// One whole file of a volume, at most `limit` bytes; `None` when there is no such file.
    pub fn read_file(
        &self,
        handle: &str,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let context = || format!("read file `{path}` of volume `{handle}`");
        let tree = tree::Tree::read(self.open(handle)?).map_err(failed(context()))?;
        let Some(found) = tree.file(Path::new(path)).map_err(failed(context()))? else {
            return Ok(None);
        };
        tree::content(self.open(handle)?, found, limit).map(Some).map_err(failed(context()))
    }

    /// Makes sure that a volume is not there.
    pub fn remove(&self, handle: &str) -> Result<(), Error> {
        for kind in [Kind::Archive, Kind::Image] {
            let path = self.path(handle, kind)?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Io(format!("remove {}", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Extracts a volume's archive, as [`Volumes::extract`] does. `volume` is for messages.
pub fn extract_archive(
    volume: &str,
    archive: impl Read,
    target: &Path,
    owners: bool,
) -> Result<(), Error> {
    let extract = || -> io::Result<()> {
        fs::create_dir_all(target)?;
        extract(&mut decoder(archive)?, &directory(target)?, u64::MAX, owners)
    };
    extract().map_err(failed(format!("extract volume `{volume}` into {}", target.display())))
}

/// Writes a directory's content as a volume's archive.
pub fn pack_archive<W: Write>(source: &Path, out: W) -> io::Result<W> {
    let mut encoder = encoder(out)?;
    let node = jb_archive::merged::Node::Directory(MergedDir::open(&[source])?);
    pack::pack(&node, &mut encoder)?;
    encoder.finish()
}

/// The archive of a volume with nothing in it.
pub fn empty_archive() -> io::Result<Vec<u8>> {
    write_empty(Vec::new())
}

fn write_empty<W: Write>(out: W) -> io::Result<W> {
    tar::Builder::new(encoder(out)?).into_inner()?.finish()
}

fn decoder<R: Read>(archive: R) -> io::Result<impl Read> {
    let archive = BufReader::with_capacity(BUFFER, archive);
    Ok(zstd::Decoder::with_buffer(archive)?.single_frame())
}

fn encoder<W: Write>(out: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

pub(crate) fn unique(handle: &str) -> String {
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let time = time.map_or(0, |time| time.as_nanos());
    // Processes of different pods may have the same number.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name::encode(handle).unwrap_or_default();
    let name = name.get(..100).unwrap_or(&name);
    format!("{name}.{:.64}.{}.{time:x}.{count}", host, std::process::id())
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn make_directories(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut walked = PathBuf::new();
    let mut current = root.try_clone()?;
    for name in components(path)? {
        walked.push(&name);
        match rustix::fs::mkdirat(&current, &name, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        current = open_directory(root, &walked)?;
    }
    Ok(current)
}

/// Reads an archive to its very end, so that its checksum is compared, too.
fn extract(tar: &mut impl Read, to: &OwnedFd, bytes: u64, owners: bool) -> io::Result<()> {
    unpack(&mut *tar, to, Bounds { entries: MAX_ENTRIES, bytes }, owners)?;
    io::copy(tar, &mut io::sink()).map(drop)
}

/// A directory that goes when it is not needed any more.
struct Scratch(PathBuf);

impl Scratch {
    fn make(below: &Path, handle: &str) -> Result<Self, Error> {
        let path = below.join(unique(handle));
        fs::create_dir_all(&path).map_err(failed(format!("make {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A container that ends takes the rest with it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

mod image;
mod tree;

pub use image::{extract_files, extract_root};

#[cfg(test)]
mod tests;
