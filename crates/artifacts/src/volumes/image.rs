//! Images as volumes: root file systems that containers put over their own, and images that nodes pull.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

use jb_archive::unpack::{Bounds, Part, unpack_part};
use serde::Deserialize;

use super::{ARCHIVE, BUFFER, Error, MAX_ENTRIES, Volumes, directory, failed};

/// Where an image's volume has its root file system.
const ROOT: &str = "rootfs";
/// What a container has from its node, and what it runs first.
const OF_CONTAINER: [&str; 7] =
    ["dev", "proc", "sys", ".jetbridge", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

impl Volumes {
    /// Copies a volume's archive as it is, for [`extract_root`].
    pub fn copy_archive(&self, handle: &str, target: &Path) -> Result<(), Error> {
        let path = self.path(handle, ARCHIVE)?;
        let mut from = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoVolume(handle.to_owned()),
            _ => Error::Io(format!("open {}", path.display()), error),
        })?;
        let copied = File::create(target).and_then(|mut to| io::copy(&mut from, &mut to));
        let context = format!("copy volume `{handle}` to {}", target.display());
        copied.map(drop).map_err(failed(context))
    }
}

/// The small files of an image that lies elsewhere, out of what is kept of it.
pub(super) fn extract_files(handle: &str, json: &[u8], target: &Path) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Image {
        files: BTreeMap<String, String>,
    }
    let context = || format!("extract volume `{handle}` into {}", target.display());
    let image: Image = serde_json::from_slice(json).map_err(|e| failed(context())(e.into()))?;
    fs::create_dir_all(target).map_err(failed(context()))?;
    for (name, text) in image.files {
        // They have no directories, and names with them are not ours.
        let name = Path::new(&name).file_name().unwrap_or_default().to_owned();
        fs::write(target.join(name), text).map_err(failed(context()))?;
    }
    Ok(())
}

/// Extracts the root file system of an image's archive over `root`, except for what every container has of its own.
/// Everything belongs to this process's user, unless `owners` says to keep them.
pub fn extract_root(archive: &Path, root: &Path, owners: bool) -> Result<(), Error> {
    let context = || "extract the image".to_owned();
    let file = File::open(archive).map_err(failed(context()))?;
    let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, file));
    let mut tar = decoder.map_err(failed(context()))?.single_frame();
    let bounds = Bounds { entries: MAX_ENTRIES, bytes: u64::MAX };
    let part = Part { below: ROOT, except: &OF_CONTAINER };
    let to = directory(root).map_err(failed(context()))?;
    let extracted = unpack_part(&mut tar, &to, bounds, owners, part).and_then(|extracted| {
        // To its very end, so that its checksum is compared, too.
        io::copy(&mut tar, &mut io::sink()).map(|_| extracted)
    });
    if extracted.map_err(failed(context()))? == 0 {
        let text = "the artifact has no directory `rootfs`, in which images have their files";
        return Err(failed(context())(io::Error::new(io::ErrorKind::NotFound, text)));
    }
    Ok(())
}
