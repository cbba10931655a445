//! Writing a directory or file of a volume as a tar archive.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use tar::{Builder, EntryType, Header};

use crate::merged::{MergedDir, Node, Other};

/// Directories nested deeper than this are refused, which bounds the open descriptors.
const MAX_DEPTH: usize = 256;

/// Packs a directory's content below `.`, or one file under its own name.
pub fn pack(node: &Node, out: impl Write) -> io::Result<()> {
    let mut packer = Packer { builder: Builder::new(out), links: HashMap::new() };
    packer.builder.sparse(true);
    match node {
        Node::Directory(directory) => packer.directory(directory, Path::new("./"), 0)?,
        Node::Other(other) => packer.other(other, &PathBuf::from(&other.name))?,
    }
    packer.builder.into_inner()?.flush()
}

struct Packer<W: Write> {
    builder: Builder<W>,
    /// Where a file with several names was packed first.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    fn directory(&mut self, directory: &MergedDir, path: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "directory `{}` is nested deeper than {MAX_DEPTH}",
                path.display()
            )));
        }
        let mut header = header(&directory.stat()?, EntryType::Directory);
        self.builder.append_data(&mut header, path, io::empty())?;
        for name in directory.names()? {
            let path = path.join(&name);
            match directory.child(&name)? {
                // Gone since the directory was listed.
                None => {}
                Some(Node::Directory(child)) => self.directory(&child, &path, depth + 1)?,
                Some(Node::Other(other)) => self.other(&other, &path)?,
            }
        }
        Ok(())
    }

    fn other(&mut self, other: &Other, path: &Path) -> io::Result<()> {
        let stat = &other.stat;
        let kind = other.kind();
        if stat.st_nlink > 1 && kind != FileType::Directory {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let mut header = header(stat, EntryType::Link);
                return self.builder.append_link(&mut header, path, first);
            }
            self.links.insert(key, path.to_owned());
        }
        match kind {
            FileType::RegularFile => {
                let mut file = match other.open() {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error),
                };
                self.attributes(&file)?;
                self.builder.append_file(path, &mut file)
            }
            FileType::Symlink => {
                let mut header = header(stat, EntryType::Symlink);
                self.builder.append_link(&mut header, path, other.link_target()?)
            }
            FileType::Fifo => {
                let mut header = header(stat, EntryType::Fifo);
                self.builder.append_data(&mut header, path, io::empty())
            }
            // Sockets and devices mean nothing elsewhere, and unpacking refuses them.
            _ => Ok(()),
        }
    }

    fn attributes(&mut self, file: &std::fs::File) -> io::Result<()> {
        const CAPABILITY: &str = "security.capability";
        let mut value = [0u8; 64];
        if let Ok(length) = rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]) {
            self.builder
                .append_pax_extensions([("SCHILY.xattr.security.capability", &value[..length])])?;
        }
        Ok(())
    }
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// One whole file of a volume, at most `limit` bytes.
pub fn read_file(root: &MergedDir, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let Some(Node::Other(other)) = root.resolve(path)? else { return Ok(None) };
    if other.kind() != FileType::RegularFile {
        return Ok(None);
    }
    let mut content = Vec::new();
    other.open()?.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit {
        let name: &OsStr = path.as_os_str();
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("file `{}` is larger than {limit} bytes", name.display()),
        ));
    }
    Ok(Some(content))
}
