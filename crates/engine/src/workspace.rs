//! Where a step finds its files: working directories, mounts and which artifacts a `put` sees. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::config::{PutInputs, TaskConfig};
use jb_model::{Object, Value, VolumeHandle};
use jb_runtime::{Mount, MountSource};
use sha2::{Digest as _, Sha256};

pub(crate) const GET_DIR: &str = "/tmp/build/get";
pub(crate) const PUT_DIR: &str = "/tmp/build/put";
pub(crate) const CHECK_DIR: &str = "/tmp/build/check";

/// A task's working directory: the first four bytes of the SHA-256 of its name, so that it is the
/// same in every build.
pub(crate) fn task_dir(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("/tmp/build/{hex}")
}

/// A path below a directory, without `.`, `..` and doubled slashes; absolute paths stay absolute.
pub(crate) fn clean_path(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let joined = parts.join("/");
    if path.starts_with('/') { format!("/{joined}") } else { joined }
}

/// Names for the volumes a container makes.
pub(crate) struct VolumeNames<'a> {
    /// Prefix unique to the container.
    pub container: &'a str,
}

impl VolumeNames<'_> {
    pub(crate) fn output(&self, index: usize) -> VolumeHandle {
        VolumeHandle::new(format!("{}-o{index}", self.container))
    }
}

/// A task's mounts, and under which artifact name each output is found afterwards.
#[derive(Debug, PartialEq)]
pub(crate) struct TaskMounts {
    pub mounts: Vec<Mount>,
    pub outputs: Vec<(String, VolumeHandle)>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("missing inputs: {}", .0.join(", "))]
pub(crate) struct MissingInputs(pub Vec<String>);

/// Lays out inputs, outputs and caches of a task.
///
/// An output with the path of an input is that input's written copy. `cache` names the volume of a
/// cache path, or says that this build has none.
pub(crate) fn task_mounts(
    config: &TaskConfig,
    input_mapping: &BTreeMap<String, String>,
    output_mapping: &BTreeMap<String, String>,
    artifact: impl Fn(&str) -> Option<VolumeHandle>,
    names: &VolumeNames<'_>,
    cache: impl Fn(&str) -> Option<VolumeHandle>,
) -> Result<TaskMounts, MissingInputs> {
    let mut mounts = Vec::new();
    let mut missing = Vec::new();
    let output_paths: BTreeMap<String, usize> = config
        .outputs
        .iter()
        .enumerate()
        .map(|(index, output)| (clean_path(output.resolved_path()), index))
        .collect();
    let mut taken = BTreeSet::new();
    for input in &config.inputs {
        let source = input_mapping.get(&input.name).unwrap_or(&input.name);
        let Some(volume) = artifact(source) else {
            if !input.optional {
                missing.push(source.clone());
            }
            continue;
        };
        let path = clean_path(input.resolved_path());
        let copy = output_paths.get(&path).map(|index| names.output(*index));
        taken.insert(path.clone());
        mounts.push(Mount { path, source: MountSource::Input { volume, copy } });
    }
    if !missing.is_empty() {
        return Err(MissingInputs(missing));
    }
    let mut outputs = Vec::new();
    for (index, output) in config.outputs.iter().enumerate() {
        let path = clean_path(output.resolved_path());
        let volume = names.output(index);
        if !taken.contains(&path) {
            mounts.push(Mount { path, source: MountSource::Output(volume.clone()) });
        }
        let name = output_mapping.get(&output.name).unwrap_or(&output.name);
        outputs.push((name.clone(), volume));
    }
    for task_cache in &config.caches {
        let path = clean_path(&task_cache.path);
        if let Some(volume) = cache(&path) {
            mounts.push(Mount { path, source: MountSource::Cache(volume) });
        } else {
            let volume = VolumeHandle::new(format!("{}-c{}", names.container, mounts.len()));
            mounts.push(Mount { path, source: MountSource::Output(volume) });
        }
    }
    Ok(TaskMounts { mounts, outputs })
}

/// Which of the build's artifacts a `put` sees.
pub(crate) fn put_inputs(
    inputs: &PutInputs,
    params: &Object,
    artifacts: &BTreeMap<String, VolumeHandle>,
) -> Result<Vec<(String, VolumeHandle)>, MissingInputs> {
    let named = |names: &[String]| {
        let missing: Vec<String> =
            names.iter().filter(|name| !artifacts.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(MissingInputs(missing));
        }
        Ok(names
            .iter()
            .filter_map(|name| artifacts.get(name).map(|volume| (name.clone(), volume.clone())))
            .collect())
    };
    match inputs {
        PutInputs::All => {
            Ok(artifacts.iter().map(|(name, volume)| (name.clone(), volume.clone())).collect())
        }
        PutInputs::Only(names) => named(names),
        PutInputs::Detect => {
            let mut found = BTreeSet::new();
            for value in params.values() {
                detect(value, &mut found);
            }
            Ok(artifacts
                .iter()
                .filter(|(name, _)| found.contains(name.as_str()))
                .map(|(name, volume)| (name.clone(), volume.clone()))
                .collect())
        }
    }
}

/// First path segments of every string in a value, through maps and lists.
fn detect<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => {
            if let Some(first) = text.split('/').find(|part| !matches!(*part, "" | "." | "..")) {
                found.insert(first);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| detect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| detect(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
