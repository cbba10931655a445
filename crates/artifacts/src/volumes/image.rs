//! Images as volumes: root file systems that containers put over their own, and images that nodes pull.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use jb_archive::unpack::{Bounds, Part, unpack_part};
use serde::Deserialize;

use super::{Error, MAX_ENTRIES, Volumes, decoder, directory, failed};

/// Where an image's volume has its root file system.
const ROOT: &str = "rootfs";
/// What a container has from its node, and what it runs first.
const OF_CONTAINER: [&str; 7] =
    ["dev", "proc", "sys", ".jetbridge", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

impl Volumes {
    /// Copies a volume's archive as it is, for [`extract_root`].
    pub fn copy_archive(&self, handle: &str, target: &Path) -> Result<(), Error> {
        let context = || format!("copy volume `{handle}` to {}", target.display());
        let mut to = File::create(target).map_err(failed(context()))?;
        self.write_archive(handle, &mut to)
    }

    /// Writes a volume's archive as it is.
    pub fn write_archive(&self, handle: &str, out: &mut impl io::Write) -> Result<(), Error> {
        let copied = io::copy(&mut self.open_archive(handle)?, out);
        copied.map(drop).map_err(failed(format!("read volume `{handle}`")))
    }
}

/// Extracts the small files of an image that lies elsewhere, out of what is kept of it. `handle` is for messages.
pub fn extract_files(handle: &str, json: &[u8], target: &Path) -> Result<(), Error> {
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
    let mut tar = decoder(file).map_err(failed(context()))?;
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
