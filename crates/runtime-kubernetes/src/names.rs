//! Names, labels and annotations of pods.

use std::collections::BTreeMap;

use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::{ContainerSpec, Coordinates};
use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest as _, Sha256};

/// What the cluster allows for a pod that shall also be a host name.
const NAME_BYTES_MAX: usize = 63;
/// What the cluster allows for a label's value.
const LABEL_BYTES_MAX: usize = 63;

/// Whose pod it is: the worker's name.
pub(crate) const WORKER: &str = "jetbridge.dev/worker";
/// Finds a pod by its handle, which may be too long for a label.
pub(crate) const HANDLE_HASH: &str = "jetbridge.dev/handle-hash";
/// What a pod is for: a step's kind, or `artifacts`.
pub(crate) const KIND: &str = "jetbridge.dev/kind";
/// Which of our NetworkPolicies applies.
pub(crate) const NETWORK: &str = "jetbridge.dev/network";
pub(crate) const HANDLE: &str = "jetbridge.dev/handle";
pub(crate) const BUILD_ID: &str = "jetbridge.dev/build-id";
pub(crate) const STEP: &str = "jetbridge.dev/step";
pub(crate) const ATTEMPT: &str = "jetbridge.dev/attempt";
/// How names of labels begin that the two pods of a link have, and no third.
const LINK: &str = "jetbridge.dev/link";
/// The value of [`KIND`] of pods that give servers access to volumes.
pub(crate) const ARTIFACTS: &str = "artifacts";
/// The value of [`KIND`] of pods that checks share.
pub(crate) const CHECKS: &str = "checks";
/// The volumes a pod waits for, as JSON, where it does not find them by itself.
pub(crate) const INPUTS: &str = "jetbridge.dev/inputs";
/// The volume whose image a secret is for.
pub(crate) const VOLUME: &str = "jetbridge.dev/volume";
/// In names of secrets with which nodes pull images, before this many digits.
const PULL: &str = "pull";
const PULL_DIGITS: usize = 32;
/// The volumes a pod publishes, as JSON.
pub(crate) const OUTPUTS: &str = "jetbridge.dev/outputs";

/// What a pod is for, as its label says.
pub(crate) fn kind_of(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(KIND)).map(String::as_str).unwrap_or_default()
}

fn hex(text: &str, digits: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    hex
}

pub(crate) fn handle_hash(handle: &ContainerHandle) -> String {
    hex(handle.as_str(), 40)
}

/// The label of the two pods of a link. A pod may have several.
pub(crate) fn link_label(volume: &VolumeHandle) -> String {
    format!("{LINK}-{}", hex(volume.as_str(), 40))
}

/// `<pipeline>-<job>-b<build>-<type>-<8hex>`: for people by its beginning, unique by its end, which follows from
/// the handle. Long names are cut, the longer of the two first.
pub(crate) fn pod_name(spec: &ContainerSpec) -> String {
    let Coordinates { pipeline, job, build, .. } = &spec.coordinates;
    let kind = spec.kind.as_str();
    let mut tail = format!("{kind}-{}", hex(spec.handle.as_str(), 8));
    let build = dns(build);
    if !build.is_empty() {
        let room = NAME_BYTES_MAX / 3;
        tail = format!("b{}-{tail}", build.get(..room).unwrap_or(&build));
    }
    let (mut pipeline, mut job) = (dns(pipeline), dns(job));
    let separators = usize::from(!pipeline.is_empty()) + usize::from(!job.is_empty());
    let room = NAME_BYTES_MAX - tail.len() - separators;
    while pipeline.len() + job.len() > room {
        let longer = if pipeline.len() > job.len() { &mut pipeline } else { &mut job };
        longer.pop();
    }
    let parts = [pipeline.trim_end_matches('-'), job.trim_end_matches('-'), &tail];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// A host name the kernel and the cluster take.
pub(crate) fn host_name(wanted: &str) -> String {
    let mut name = dns(wanted);
    name.truncate(NAME_BYTES_MAX);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "container".to_owned() } else { name.to_owned() }
}

/// Lower-case letters, digits and single `-` within.
fn dns(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}

/// The nearest value a label may have; the annotation of the same name has the whole one.
fn label(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    let edge = |c: char| !c.is_ascii_alphanumeric();
    let mut text = text.trim_start_matches(edge).to_owned();
    text.truncate(LABEL_BYTES_MAX);
    text.trim_end_matches(edge).to_owned()
}

fn coordinates(spec: &ContainerSpec) -> [(&'static str, &str); 7] {
    let Coordinates { team, pipeline, job, build, build_id, step, attempt } = &spec.coordinates;
    [
        ("jetbridge.dev/team", team),
        ("jetbridge.dev/pipeline", pipeline),
        ("jetbridge.dev/job", job),
        ("jetbridge.dev/build", build),
        (BUILD_ID, build_id),
        (STEP, step),
        (ATTEMPT, attempt),
    ]
}

/// The labels by which pods are found, ours and people's.
pub(crate) fn labels(
    spec: &ContainerSpec,
    worker: &str,
    network: &str,
) -> BTreeMap<String, String> {
    let mut labels = ours(worker);
    let own = [
        (KIND, spec.kind.as_str().to_owned()),
        (NETWORK, network.to_owned()),
        (HANDLE_HASH, handle_hash(&spec.handle)),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    for (name, value) in coordinates(spec) {
        let value = label(value);
        if !value.is_empty() {
            labels.insert(name.to_owned(), value);
        }
    }
    labels
}

/// The labels of all objects of a worker.
pub(crate) fn ours(worker: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/managed-by", "jetbridge".to_owned()), (WORKER, label(worker))]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// What [`ours`] and only ours match.
pub(crate) fn selector(worker: &str) -> String {
    let labels = ours(worker);
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// The coordinates and the handle as they are.
pub(crate) fn annotations(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([(HANDLE.to_owned(), spec.handle.to_string())]);
    for (name, value) in coordinates(spec) {
        if !value.is_empty() {
            annotations.insert(name.to_owned(), value.to_owned());
        }
    }
    annotations
}

/// Makes it known that checks share a pod.
pub(crate) fn mark_of_checks(pod: &mut Pod) {
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(KIND.to_owned(), CHECKS.to_owned());
}

/// Whether checks share a pod.
pub(crate) fn is_of_checks(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(KIND)).is_some_and(|kind| kind == CHECKS)
}

/// Whether a pod gives servers access to volumes.
pub(crate) fn is_of_artifacts(pod: &Pod) -> bool {
    kind_of(pod) == ARTIFACTS
}

/// The name of the secret with which nodes pull the image of a volume.
pub(crate) fn pull_secret(worker: &str, volume: &VolumeHandle) -> String {
    let name = of_worker(worker, PULL);
    format!("{name}-{}", hex(volume.as_str(), PULL_DIGITS))
}

/// Whether a secret is one that a worker made for some image.
pub(crate) fn is_pull_secret(worker: &str, name: &str) -> bool {
    let rest = name.strip_prefix(&of_worker(worker, PULL));
    let digits = rest.and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    digits.len() == PULL_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name of an object of which a worker has one in its namespace.
pub(crate) fn of_worker(worker: &str, what: &str) -> String {
    by_worker(worker, what, worker)
}

/// The name of a worker's pod for volumes, of which there is one for each way in which it is made.
pub(crate) fn of_artifacts(worker: &str, spec: &str) -> String {
    by_worker(worker, ARTIFACTS, &format!("{worker} {spec}"))
}

fn by_worker(worker: &str, what: &str, unique: &str) -> String {
    let mut name = host_name(worker);
    name.truncate(NAME_BYTES_MAX - what.len() - 10);
    format!("{}-{what}-{}", name.trim_end_matches('-'), hex(unique, 8))
}

#[cfg(test)]
mod tests;
