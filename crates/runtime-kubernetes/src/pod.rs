//! From a container's spec to its pod. Pure.

mod containers;
mod layout;
pub(crate) mod link;
mod owned;
pub(crate) mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::net::IpAddr;
use std::time::Duration;

use jb_artifacts::command::ARTIFACTS_DIR;
use jb_model::VolumeHandle;
use jb_runtime::{ContainerKind, ContainerSpec, Network};
use k8s_openapi::api::core::v1::{
    Container, LocalObjectReference, Pod, PodSecurityContext, PodSpec, SeccompProfile,
};
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

pub(crate) use containers::{connect, program};

use crate::names;
use crate::network;
use crate::probe::Features;
use crate::settings::{PodSecurity, Settings};
use crate::user::{self, RunAs};
use containers::{Security, main_container};
use layout::{Layout, claim, empty_dir, mount, read_only};

pub(crate) const MAIN: &str = "main";
pub(crate) const HELPER: &str = "artifact-helper";
pub(crate) const PREPARE: &str = "prepare";
/// Joins a socket in the pod to one in another.
const LINK: &str = "link";

/// Where the programs of the runner's image are in every container.
pub(crate) const PROGRAMS_DIR: &str = "/.jetbridge/runner";
const STATE_DIR: &str = "/.jetbridge/state";
const VOLUMES_DIR: &str = "/.jetbridge/volumes";
/// Has the archive of a root file system.
const ROOT_DIR: &str = "/.jetbridge/root";
const ROOT_FILE: &str = "/.jetbridge/root/image.tar.zst";
const RESOURCE_DIR: &str = "/opt/resource";
/// Has [`jb_runtime::AGENT_PROGRAM`].
const AGENT_PROGRAMS_DIR: &str = "/opt/jetbridge";
/// May write to the directories of the claim. Containers of steps have whatever user their image wants.
pub(crate) const ARTIFACT_GROUP: u32 = 64017;
/// Between SIGTERM and SIGKILL when somebody deletes a pod: what the runner gives processes, and a little more.
const TERMINATION_SECONDS: i64 = 13;
/// Steps name images by digest, settings by tags that do not move.
const PULL_POLICY: &str = "IfNotPresent";

/// An image as nodes pull it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodImage {
    pub(crate) reference: String,
    /// Whom the image runs as, if that is known.
    pub(crate) user: Option<String>,
    /// A directory of it that is to be found at `/opt/resource`.
    pub(crate) resource: Option<String>,
    /// A volume with the root file system, which no node can pull: the container starts with nothing and puts it in
    /// place itself.
    pub(crate) root: Option<VolumeHandle>,
    /// The secret with which it is pulled, besides those of the settings.
    pub(crate) pull_secret: Option<String>,
}

/// An input that is an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageInput {
    /// As nodes pull it.
    pub(crate) reference: String,
    pub(crate) pull_secret: Option<String>,
}

/// Inputs that are images which nodes pull, by their volumes.
pub(crate) type ImageInputs = BTreeMap<VolumeHandle, ImageInput>;

/// What a pod refers to that its spec only names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) images: ImageInputs,
    /// The pods at the other ends of links.
    pub(crate) peers: BTreeMap<VolumeHandle, IpAddr>,
}

/// A volume that a pod publishes when it is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) volume: String,
    /// Where it lies in the `artifact-helper`.
    pub(crate) path: String,
}

/// A volume that a pod gets before its step begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) volume: String,
    /// Where it goes in the container `prepare`.
    pub(crate) path: String,
    /// It stays an archive.
    pub(crate) is_file: bool,
}

/// All a step's pod follows from. An error says what the cluster cannot do, and what to change.
pub(crate) fn step(
    spec: &ContainerSpec,
    image: &PodImage,
    found: &Found,
    settings: &Settings,
    features: Features,
) -> Result<Pod, String> {
    if spec.privileged && settings.pod_security < PodSecurity::Privileged {
        return Err(format!(
            "the step wants to be privileged: that takes Pod Security level `privileged` (--kubernetes-pod-security and \
             the label of namespace `{}`), which is `{}`",
            settings.namespace,
            settings.pod_security.as_str()
        ));
    }
    let features =
        if spec.privileged { Features { user_namespaces: false, ..features } } else { features };
    let run_as = if image.root.is_some() {
        user::decide_over_nothing(&spec.user, features, settings.pod_security)?
    } else {
        user::decide(&spec.user, image.user.as_deref(), spec.kind, features, settings.pod_security)?
    };
    let security = Security { settings, features, run_as, privileged: spec.privileged };
    let mut layout = Layout::new(spec, image, found, settings, &security)?;
    let main = main_container(spec, image, &security, &layout);
    let wanted = layout.wanted();
    let mut init = layout.install(settings, &security);
    init.extend(layout.prepare(&wanted, &security));
    let mut containers = vec![main];
    containers.extend(layout.helper(image, &security));
    containers.extend(layout.forwarders.iter().map(|link| link.container(settings, &security)));
    let needs_claim = layout.uses_volumes() && settings.artifact_claim().is_some();
    layout.add_claim(&wanted, settings);
    let network = match (spec.kind, spec.network) {
        (ContainerKind::Gateway, _) => network::link::GATEWAY,
        (ContainerKind::Agent, Network::Hermetic) => network::link::AGENT,
        (ContainerKind::Agent, Network::Outbound) => network::link::OPEN_AGENT,
        (ContainerKind::Mcp, _) => network::link::SERVER,
        (_, Network::Hermetic) => "hermetic",
        (ContainerKind::Check, Network::Outbound) => "check",
        (_, Network::Outbound) => "step",
    };
    let mut annotations = names::annotations(spec);
    if !layout.published.is_empty() {
        let outputs = serde_json::to_string(&layout.published).unwrap_or_default();
        annotations.insert(names::OUTPUTS.to_owned(), outputs);
    }
    if !wanted.is_empty() && settings.artifact_claim().is_none() {
        let inputs = serde_json::to_string(&wanted).unwrap_or_default();
        annotations.insert(names::INPUTS.to_owned(), inputs);
    }
    let mut labels = names::labels(spec, &settings.worker_name, network);
    let links =
        link::of(spec).map(|link| (names::link_label(&link.volume), network::link::end(link)));
    labels.extend(links.map(|(name, end)| (name, end.to_owned())));
    let metadata = ObjectMeta {
        name: Some(names::pod_name(spec)),
        namespace: Some(settings.namespace.clone()),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let pod = PodSpec {
        hostname: Some(names::host_name(&spec.hostname)),
        containers,
        init_containers: (!init.is_empty()).then_some(init),
        volumes: Some(layout.volumes),
        image_pull_secrets: pull_secrets(image, &found.images, settings),
        ..pod_spec(settings, features, needs_claim)
    };
    Ok(Pod { metadata, spec: Some(pod), status: None })
}

/// The name of the pod that gives the server access to volumes. One that would be made in another way has another name: so
/// a server never finds the pod of another version, and one that is replaced by it keeps its own.
pub(crate) fn artifacts_name(settings: &Settings, features: Features) -> String {
    let spec = serde_json::json!(artifacts("", settings, features).spec);
    names::of_artifacts(&settings.worker_name, &spec.to_string())
}

/// The pod that gives the server access to volumes. It ends when no server uses it any more.
pub(crate) fn artifacts(name: &str, settings: &Settings, features: Features) -> Pod {
    use jb_artifacts::command::{CACHES_DIR, Command, SCRATCH_DIR};
    let run_as = if features.user_namespaces || settings.pod_security > PodSecurity::Restricted {
        RunAs::User { uid: 0, gid: None }
    } else {
        RunAs::User { uid: 65532, gid: None }
    };
    let security = Security { settings, features, run_as, privileged: false };
    let mut volumes = vec![empty_dir("scratch")];
    let mut mounts = vec![mount("scratch", SCRATCH_DIR)];
    if let Some(artifacts) = settings.artifact_claim() {
        volumes.push(claim("artifacts", artifacts));
        mounts.push(mount("artifacts", ARTIFACTS_DIR));
    }
    if let Some(caches) = &settings.cache_claim {
        volumes.push(claim("caches", caches));
        mounts.push(mount("caches", CACHES_DIR));
    }
    let rest = Command::Rest { seconds: settings.artifacts_idle.as_secs() };
    let container = Container {
        name: MAIN.to_owned(),
        image: Some(settings.images.runner.clone()),
        command: Some(iter::once("/jb-artifacts".to_owned()).chain(rest.to_args()).collect()),
        volume_mounts: Some(mounts),
        ..security.container()
    };
    let mut labels = names::ours(&settings.worker_name);
    labels.insert(names::KIND.to_owned(), names::ARTIFACTS.to_owned());
    labels.insert(names::NETWORK.to_owned(), "hermetic".to_owned());
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(settings.namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let mut pod = PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        restart_policy: Some("OnFailure".to_owned()),
        active_deadline_seconds: None,
        // What it runs first heeds no signal, and there is nothing to put in order.
        termination_grace_period_seconds: Some(1),
        ..pod_spec(settings, features, true)
    };
    if let Some(context) = &mut pod.security_context {
        // Lets the cluster give the claim's root to the group, where it can.
        context.fs_group = Some(ARTIFACT_GROUP.into());
        context.fs_group_change_policy = Some("OnRootMismatch".to_owned());
    }
    Pod { metadata, spec: Some(pod), status: None }
}

/// What all pods have.
fn pod_spec(settings: &Settings, features: Features, needs_claim: bool) -> PodSpec {
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        active_deadline_seconds: Some(seconds(settings.deadline)),
        termination_grace_period_seconds: Some(TERMINATION_SECONDS),
        automount_service_account_token: Some(false),
        service_account_name: settings.service_account.clone(),
        enable_service_links: Some(false),
        host_users: features.user_namespaces.then_some(false),
        image_pull_secrets: secret_references(settings.pull_secrets.iter()),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            supplemental_groups: needs_claim.then(|| vec![ARTIFACT_GROUP.into()]),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// The secrets of the settings, and those that only this pod's images take.
fn pull_secrets(
    image: &PodImage,
    inputs: &ImageInputs,
    settings: &Settings,
) -> Option<Vec<LocalObjectReference>> {
    let inputs = inputs.values().filter_map(|input| input.pull_secret.as_ref());
    let own: BTreeSet<&String> = image.pull_secret.iter().chain(inputs).collect();
    secret_references(own.into_iter().chain(&settings.pull_secrets))
}

fn secret_references<'a>(
    names: impl Iterator<Item = &'a String>,
) -> Option<Vec<LocalObjectReference>> {
    let secrets: Vec<_> = names.map(|name| LocalObjectReference { name: name.clone() }).collect();
    (!secrets.is_empty()).then_some(secrets)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).max(1)
}
#[cfg(test)]
pub(crate) mod tests;
