//! The programs that run inside containers, carried in this binary and unpacked when needed.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const RUNNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jb-runner"));
const RESOURCES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jb-resources"));
const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jb-agent"));

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

fn program(dir: &Path, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    let same = std::fs::metadata(&path).is_ok_and(|found| found.len() == content.len() as u64)
        && std::fs::read(&path).is_ok_and(|found| found == content);
    if same {
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
    file.write_all(content).with_context(|| format!("write {}", fresh.display()))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    drop(file);
    std::fs::rename(&fresh, &path).with_context(|| format!("replace {}", path.display()))?;
    Ok(path)
}
