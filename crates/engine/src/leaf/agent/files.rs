//! Volumes of a few small files that the server writes.

use jb_model::VolumeHandle;

use crate::build::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// Makes a volume with these files, by their paths in it.
pub(super) async fn keep(
    context: &BuildContext,
    leaf: &Leaf,
    volume: &VolumeHandle,
    step: &str,
    files: &[(&str, String)],
) -> Result<(), Trouble> {
    let path = files.first().map_or("", |(path, _)| path);
    context.record_volume(leaf, volume, "artifact", step, path).await?;
    let runtime = &leaf.place(context).runtime;
    runtime.create_volume(volume).await?;
    let archive = Box::new(std::io::Cursor::new(archive(files)?));
    runtime.stream_in(volume, ".", archive).await?;
    Ok(())
}

fn archive(files: &[(&str, String)]) -> Result<Vec<u8>, Trouble> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    Ok(archive.into_inner()?)
}
