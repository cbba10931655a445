//! Where a container's volumes go.

use crate::{Mount, MountSource};

/// A mount at an absolute, normalised path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub target: String,
    pub source: MountSource,
}

/// Makes a path absolute and free of `.` and `..`; relative ones are below `working_dir`.
pub fn absolute(path: &str, working_dir: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { working_dir };
    for name in base.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// Orders mounts so that each comes after those it lies in. An output at the path of an input
/// takes what is written to the input's copy.
pub fn place(mounts: &[Mount], working_dir: &str) -> Result<Vec<Placed>, String> {
    let mut placed: Vec<Placed> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let target = absolute(&mount.path, working_dir);
        if target == "/" || target == "/.jetbridge" || target.starts_with("/.jetbridge/") {
            return Err(format!("cannot mount a volume at `{target}` of a container"));
        }
        let Some(other) = placed.iter_mut().find(|other| other.target == target) else {
            placed.push(Placed { target, source: mount.source.clone() });
            continue;
        };
        other.source = match (&other.source, &mount.source) {
            (MountSource::Input { volume, copy: None }, MountSource::Output(output))
            | (MountSource::Output(output), MountSource::Input { volume, copy: None }) => {
                MountSource::Input { volume: volume.clone(), copy: Some(output.clone()) }
            }
            (one, two) if one == two => continue,
            _ => return Err(format!("more than one volume is to be mounted at `{target}`")),
        };
    }
    placed.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(placed)
}

#[cfg(test)]
mod tests;
