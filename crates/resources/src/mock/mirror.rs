//! `mirror_self`: the container's own root file system as an image.

use std::fs::{self, Metadata};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

/// A runtime that runs this container on the machine's own root puts this file there: the image is then only
/// described, not copied, and the runtime gives its user the machine's root again.
const HOST_ROOT_MARKER: &str = "opt/resource/host-rootfs";

/// Never copied from the root: they are mounts, or fill themselves.
const SKIPPED: &[&str] = &["proc", "sys", "dev", "tmp"];

/// Writes `rootfs/` and `metadata.json` of the image that `root` is into `dest`.
pub(super) fn image(root: &Path, dest: &Path, version: &str) -> anyhow::Result<()> {
    let rootfs = dest.join("rootfs");
    make_dir(&rootfs, 0o755)?;
    let mut metadata = json!({
        "env": [format!("MIRRORED_VERSION={version}"), format!("VERSION={version}")],
        "user": "root",
    });
    if root.join(HOST_ROOT_MARKER).exists() {
        metadata["rootfs"] = json!("host");
        // The image is also a resource type: its scripts are the runtime's own.
        if let Ok(name) = fs::read_to_string(root.join("opt/resource/type")) {
            metadata["base_type"] = json!(name.trim());
        }
    } else {
        let device = fs::metadata(root)
            .with_context(|| format!("failed to inspect {}", root.display()))?
            .dev();
        copy_root(root, &rootfs, dest, device)?;
    }
    let path = dest.join("metadata.json");
    fs::write(&path, format!("{metadata}\n"))
        .with_context(|| format!("failed to write {}", path.display()))
}

fn copy_root(root: &Path, rootfs: &Path, dest: &Path, device: u64) -> anyhow::Result<()> {
    for entry in fs::read_dir(root).with_context(|| format!("failed to list {}", root.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", root.display()))?;
        let (from, to) = (entry.path(), rootfs.join(entry.file_name()));
        if entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name)) {
            let mode = entry.metadata().map_or(0o755, |metadata| metadata.mode() & 0o7777);
            make_dir(&to, mode)?;
        } else {
            copy(&from, &to, dest, device)?;
        }
    }
    Ok(())
}

/// Copies one entry with its mode, owner and times. Directories of other file systems stay empty, and `dest` is
/// left out so that the copy does not contain itself. Sockets, pipes and devices are left out.
fn copy(from: &Path, to: &Path, dest: &Path, device: u64) -> anyhow::Result<()> {
    let failed = || format!("failed to copy {} to {}", from.display(), to.display());
    let metadata = match from.symlink_metadata() {
        Ok(metadata) => metadata,
        // A file may vanish while a living root is copied.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(failed),
    };
    if metadata.is_symlink() {
        let target = fs::read_link(from).with_context(failed)?;
        std::os::unix::fs::symlink(target, to).with_context(failed)?;
        std::os::unix::fs::lchown(to, Some(metadata.uid()), Some(metadata.gid()))
            .or_else(when_not_root)
            .with_context(failed)?;
        return Ok(());
    }
    if metadata.is_dir() {
        make_dir(to, 0o700)?;
        if metadata.dev() == device && from != dest {
            for entry in fs::read_dir(from).with_context(failed)? {
                let entry = entry.with_context(failed)?;
                copy(&entry.path(), &to.join(entry.file_name()), dest, device)?;
            }
        }
    } else if metadata.is_file() {
        if metadata.dev() != device {
            // A file mounted over another, such as /etc/resolv.conf: its place stays, its content is the runtime's.
            fs::write(to, b"").with_context(failed)?;
        } else {
            fs::copy(from, to).with_context(failed)?;
        }
    } else {
        return Ok(());
    }
    like(to, &metadata).with_context(failed)
}

fn like(path: &Path, metadata: &Metadata) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(metadata.uid()), Some(metadata.gid()))
        .or_else(when_not_root)?;
    // After the owner: changing that clears the set-id bits.
    fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    let times =
        fs::FileTimes::new().set_modified(metadata.modified()?).set_accessed(metadata.accessed()?);
    fs::File::open(path).and_then(|file| file.set_times(times)).or_else(when_not_root)
}

fn when_not_root(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) }
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    let failed = || format!("failed to create {}", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).with_context(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(failed)
}

#[cfg(test)]
mod tests;
