//! Room on the disk that only the database may use.
//!
//! Builds fill the disk that SQLite's files are on. So that how they end can still be stored, space beyond
//! the ends of these files is reserved, and logs, which alone grow without end, are refused before it is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::{Error, Result};

/// The files of a database by what their names end in, and the bytes reserved beyond the end of each.
const FILES: [(&str, u64); 3] = [("", 8 << 20), ("-wal", 8 << 20), ("-shm", 256 << 10)];
/// Free bytes below which no logs are taken.
const LOG_ROOM_MIN: u64 = 4 << 20;

pub(crate) struct Reserve {
    path: PathBuf,
    /// Open for as long as the database is: closing one would end the locks that SQLite holds on the file.
    files: Vec<(File, u64)>,
}

impl Reserve {
    /// For the files of a database that exist.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for (suffix, ahead) in FILES {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            match OpenOptions::new().read(true).write(true).open(name) {
                Ok(file) => files.push((file, ahead)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { path: path.to_owned(), files })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reserves what was used up; false when the disk has no room for it.
    pub(crate) fn restore(&self) -> bool {
        self.files.iter().all(|(file, ahead)| {
            let Ok(metadata) = file.metadata() else { return true };
            let beyond = FallocateFlags::KEEP_SIZE;
            // Not every file system can; then there is no reserve.
            let reserved = rustix::fs::fallocate(file, beyond, metadata.len(), *ahead);
            !matches!(reserved, Err(Errno::NOSPC | Errno::DQUOT))
        })
    }

    /// Refuses when so little is left that logs would use up what the rest needs.
    pub(crate) fn room_for_logs(&self) -> Result<()> {
        let Some((file, _)) = self.files.first() else { return Ok(()) };
        // A disk that does not say how full it is will say when it is full.
        let Ok(disk) = rustix::fs::fstatvfs(file) else { return Ok(()) };
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        if left < LOG_ROOM_MIN {
            return Err(Error::NoRoomForLogs { path: self.path.display().to_string() });
        }
        Ok(())
    }
}
