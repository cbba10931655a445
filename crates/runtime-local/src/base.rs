//! The built-in resource types as directories to bind at `/opt/resource`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use jb_runtime::BaseType;

const NAMES: [&str; 4] = ["git", "time", "registry-image", "mock"];

/// The built-in types. Versions of `time` come from the clock, so each resource has its own.
pub(crate) fn types() -> Vec<BaseType> {
    NAMES
        .into_iter()
        .map(|name| BaseType {
            name: name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            privileged: false,
            unique_version_history: name == "time",
        })
        .collect()
}

/// Makes one directory per type. The program is copied, so that replacing it while it runs in a
/// container does no harm, and shared by hard links.
pub(crate) fn make(directory: &Path, program: &Path) -> io::Result<()> {
    let shared = directory.join("program");
    fs::copy(program, &shared)?;
    crate::store::set_mode(&shared, 0o755)?;
    for name in NAMES {
        let own = directory.join(name);
        fs::create_dir(&own)?;
        crate::store::set_mode(&own, 0o755)?;
        fs::hard_link(&shared, own.join("jb-resources"))?;
        fs::write(own.join("type"), name)?;
        // Says that the root these run on is the machine's own, so that nobody copies it as an image.
        fs::write(own.join("host-rootfs"), "")?;
        for link in ["check", "in", "out"] {
            symlink("jb-resources", own.join(link))?;
        }
    }
    Ok(())
}
