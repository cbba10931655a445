//! The programs that run inside containers, carried in this binary and unpacked when needed.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jb-runner.zst"));
const RESOURCES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jb-resources.zst"));
const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jb-agent.zst"));

/// Bytes compared at a time.
const CHUNK: usize = 64 << 10;

/// Where the programs lie once unpacked.
pub(crate) struct Programs {
    pub runner: PathBuf,
    pub resources: PathBuf,
    pub agent: PathBuf,
}

/// Unpacks the programs into a directory, unless they are there already, byte for byte.
pub(crate) fn unpack(dir: &Path) -> anyhow::Result<Programs> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(Programs {
        runner: program(dir, "jb-runner", RUNNER)?,
        resources: program(dir, "jb-resources", RESOURCES)?,
        agent: program(dir, "jb-agent", AGENT)?,
    })
}

fn program(dir: &Path, name: &str, compressed: &[u8]) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    if holds(&path, compressed).with_context(|| format!("unpack {name} of this binary"))? {
        return Ok(path);
    }
    // Containers may be running the old one: it is replaced by name, never written over.
    let fresh = dir.join(format!(".{name}.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&fresh)
        .with_context(|| format!("write {}", fresh.display()))?;
    zstd::stream::copy_decode(compressed, &mut file)
        .with_context(|| format!("write {}", fresh.display()))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    drop(file);
    std::fs::rename(&fresh, &path).with_context(|| format!("replace {}", path.display()))?;
    Ok(path)
}

/// Whether a file has just the content that `compressed` unpacks to. One that cannot be read has not.
fn holds(path: &Path, compressed: &[u8]) -> std::io::Result<bool> {
    let Ok(file) = File::open(path) else { return Ok(false) };
    let mut file = BufReader::with_capacity(CHUNK, file);
    let mut content = zstd::stream::read::Decoder::with_buffer(compressed)?;
    let (mut wanted, mut found) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = content.read(&mut wanted)?;
        if read == 0 {
            return Ok(file.read(&mut found).is_ok_and(|rest| rest == 0));
        }
        let same = file.read_exact(&mut found[..read]).is_ok() && found[..read] == wanted[..read];
        if !same {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_replaced_unless_it_is_the_same_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let compressed = zstd::bulk::compress(&content, 1).unwrap();
        let path = dir.path().join("jb-program");
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        let unpacked = || {
            assert_eq!(program(dir.path(), "jb-program", &compressed).unwrap(), path);
            assert!(std::fs::read(&path).unwrap() == content, "the content is not what was packed");
            inode()
        };
        let first = unpacked();
        assert_eq!(unpacked(), first, "nothing is written again");
        let (longer, shorter) = ([&content[..], b"more"].concat(), &content[..content.len() - 1]);
        let mut other = content.clone();
        other[200_000] ^= 1;
        for damaged in [&longer, shorter, &other, b""] {
            std::fs::write(&path, damaged).unwrap();
            let damaged = inode();
            assert_ne!(unpacked(), damaged, "a file that may be running is never written over");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
