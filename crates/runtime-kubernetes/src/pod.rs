//! From a container's spec to its pod. Pure.

pub(crate) mod link;
mod owned;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jb_artifacts::command::{ARTIFACTS_DIR, Command};
use jb_model::VolumeHandle;
use jb_runtime::placement::{Placed, absolute, place};
use jb_runtime::{ContainerKind, ContainerSpec, MountSource, Network};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, ImageVolumeSource, LocalObjectReference,
    PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, ResourceRequirements,
    SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::names;
use crate::network;
use crate::probe::Features;
use crate::settings::{PodSecurity, Settings};
use crate::user::{self, RunAs};

pub(crate) const MAIN: &str = "main";
pub(crate) const HELPER: &str = "artifact-helper";
pub(crate) const PREPARE: &str = "prepare";
const INSTALL: &str = "install";
/// Joins a socket in the pod to one in another.
const LINK: &str = "link";

/// Where the programs of the runner's image are in every container.
pub(crate) const PROGRAMS_DIR: &str = "/.jetbridge/runner";
const STATE_DIR: &str = "/.jetbridge/state";
/// The runner's socket.
const SOCKET: &str = "/.jetbridge/state/sock";
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
/// What CPU shares are counted against, as the kernel does.
const SHARES_PER_CPU: u64 = 1024;

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
    /// The pod at the other end of a link.
    pub(crate) peer: Option<IpAddr>,
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
    containers.extend(layout.forwarder.iter().map(|link| link.container(settings, &security)));
    let needs_claim = layout.uses_volumes() && settings.artifact_claim().is_some();
    layout.add_claim(&wanted, settings);
    let network = match (spec.kind, spec.network) {
        (ContainerKind::Gateway, _) => network::link::GATEWAY,
        (ContainerKind::Agent, Network::Hermetic) => network::link::AGENT,
        (ContainerKind::Agent, Network::Outbound) => network::link::OPEN_AGENT,
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
    if let Some(link) = link::of(spec) {
        labels.insert(names::LINK.to_owned(), names::link_hash(&link.volume));
    }
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

/// The pod that gives the server access to volumes.
pub(crate) fn artifacts(name: &str, settings: &Settings, features: Features) -> Pod {
    use jb_artifacts::command::{CACHES_DIR, SCRATCH_DIR};
    let run_as = if features.user_namespaces || settings.pod_security > PodSecurity::Restricted {
        RunAs::User { uid: 0, gid: None }
    } else {
        RunAs::User { uid: 65532, gid: None }
    };
    let security = Security { settings, features, run_as, privileged: false };
    let mut volumes = vec![empty_dir("state"), empty_dir("scratch")];
    let mut mounts = vec![mount("state", STATE_DIR), mount("scratch", SCRATCH_DIR)];
    if let Some(artifacts) = settings.artifact_claim() {
        volumes.push(claim("artifacts", artifacts));
        mounts.push(mount("artifacts", ARTIFACTS_DIR));
    }
    if let Some(caches) = &settings.cache_claim {
        volumes.push(claim("caches", caches));
        mounts.push(mount("caches", CACHES_DIR));
    }
    let container = Container {
        name: MAIN.to_owned(),
        image: Some(settings.images.runner.clone()),
        command: Some(serve("/jb-runner", false)),
        volume_mounts: Some(mounts),
        ..security.container()
    };
    let mut labels = names::ours(&settings.worker_name);
    labels.insert(names::KIND.to_owned(), "artifacts".to_owned());
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
        restart_policy: Some("Always".to_owned()),
        active_deadline_seconds: None,
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

/// The runner as a container's first process.
fn serve(program: &str, echo: bool) -> Vec<String> {
    let journal = format!("{STATE_DIR}/journal");
    let mut command = vec![program, "serve", "--journal", &journal, "--socket", SOCKET];
    if echo {
        // Resource scripts print what may be secret; a task's output is its log.
        command.extend(["--echo", "--main", "task"]);
    }
    command.into_iter().map(str::to_owned).collect()
}

/// Joins an executed command's stdio to a container's runner.
pub(crate) fn connect() -> Vec<String> {
    let program = program("jb-runner");
    [&program, "connect", "--announce", "--socket", SOCKET].map(str::to_owned).to_vec()
}

/// A program of the runner's image, in a step's pod.
pub(crate) fn program(name: &str) -> String {
    format!("{PROGRAMS_DIR}/{name}")
}

fn command(command: &Command) -> Vec<String> {
    std::iter::once(program("jb-artifacts")).chain(command.to_args()).collect()
}

fn empty_dir(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn claim(name: &str, claim: &str) -> Volume {
    let source =
        PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
    Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}

fn image_volume(name: &str, reference: &str) -> Volume {
    let source = ImageVolumeSource {
        reference: Some(reference.to_owned()),
        pull_policy: Some(PULL_POLICY.to_owned()),
    };
    Volume { name: name.to_owned(), image: Some(source), ..Volume::default() }
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(volume, path) }
}

/// What containers of a pod may do.
struct Security<'a> {
    settings: &'a Settings,
    features: Features,
    run_as: RunAs,
    privileged: bool,
}

impl Security<'_> {
    fn context(&self) -> SecurityContext {
        let restricted = self.settings.pod_security == PodSecurity::Restricted;
        let (uid, gid) = match self.run_as {
            RunAs::Image => (None, None),
            RunAs::User { uid, gid } => (Some(uid), gid),
        };
        SecurityContext {
            run_as_user: uid,
            run_as_group: gid,
            run_as_non_root: (restricted && !self.features.user_namespaces).then_some(true),
            allow_privilege_escalation: restricted.then_some(false),
            capabilities: restricted
                .then(|| Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }
    }

    /// What all containers have.
    fn container(&self) -> Container {
        Container {
            image_pull_policy: Some(PULL_POLICY.to_owned()),
            security_context: Some(self.context()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }
    }
}

fn main_container(
    spec: &ContainerSpec,
    image: &PodImage,
    security: &Security<'_>,
    layout: &Layout<'_>,
) -> Container {
    let mut context = security.context();
    if security.privileged {
        context.privileged = Some(true);
    }
    let mut limits = BTreeMap::new();
    let mut requests = BTreeMap::new();
    if let Some(bytes) = spec.limits.memory_bytes.filter(|bytes| *bytes > 0) {
        limits.insert("memory".to_owned(), Quantity(bytes.to_string()));
        requests.insert("memory".to_owned(), Quantity(bytes.to_string()));
    }
    if let Some(shares) = spec.limits.cpu_shares.filter(|shares| *shares > 0) {
        let milli = (shares.saturating_mul(1000) / SHARES_PER_CPU).max(1);
        requests.insert("cpu".to_owned(), Quantity(format!("{milli}m")));
    }
    let set = |map: BTreeMap<String, Quantity>| (!map.is_empty()).then_some(map);
    let resources = ResourceRequirements {
        limits: set(limits),
        requests: set(requests),
        ..ResourceRequirements::default()
    };
    let none = resources == ResourceRequirements::default();
    let mut first = serve(&program("jb-runner"), spec.kind == ContainerKind::Task);
    first.extend(layout.handed_over(user::becomes(&spec.user, security.run_as)));
    if image.root.is_some() {
        // Who owns what can be kept where containers have the capabilities for it.
        let owners = security.settings.pod_security > PodSecurity::Restricted;
        first = command(&Command::Boot { archive: ROOT_FILE.to_owned(), owners, command: first });
    }
    Container {
        name: MAIN.to_owned(),
        image: Some(image.reference.clone()),
        command: Some(first),
        security_context: Some(context),
        volume_mounts: Some(layout.main.clone()),
        resources: (!none).then_some(resources),
        ..security.container()
    }
}

/// A pod's volumes and where they are mounted.
struct Layout<'a> {
    image: &'a PodImage,
    found: &'a Found,
    features: Features,
    volumes: Vec<Volume>,
    main: Vec<VolumeMount>,
    /// Whether directories shall belong to the step's user.
    owned: bool,
    /// Mounts of the init container.
    prepared: Vec<VolumeMount>,
    /// Inputs to extract, and where to.
    extracted: Vec<(String, String)>,
    /// Directories to make.
    made: Vec<String>,
    /// Where the step's container has what its process may write to.
    writable: Vec<String>,
    published: Vec<Published>,
    helper: Vec<VolumeMount>,
    forwarder: Option<link::Forwarder>,
}

impl<'a> Layout<'a> {
    fn new(
        spec: &ContainerSpec,
        image: &'a PodImage,
        found: &'a Found,
        settings: &Settings,
        security: &Security<'_>,
    ) -> Result<Self, String> {
        let placed = place(&spec.mounts, &spec.working_dir)?;
        let features = security.features;
        let mut layout = Self {
            image,
            found,
            features,
            owned: owned::is_wanted(&placed, image, security.run_as),
            volumes: vec![empty_dir("state")],
            main: vec![mount("state", STATE_DIR), read_only("runner", PROGRAMS_DIR)],
            prepared: Vec::new(),
            extracted: Vec::new(),
            made: Vec::new(),
            writable: Vec::new(),
            published: Vec::new(),
            helper: Vec::new(),
            forwarder: None,
        };
        layout.agent_programs(spec.kind);
        layout.volumes.push(if features.image_volumes {
            image_volume("runner", &settings.images.runner)
        } else {
            empty_dir("runner")
        });
        if let Some(directory) = &image.resource {
            layout.resource(directory);
        }
        if image.root.is_some() {
            layout.volumes.push(empty_dir("root"));
            layout.main.push(read_only("root", ROOT_DIR));
        }
        let working_dir = absolute(&spec.working_dir, "/");
        if working_dir != "/" && !placed.iter().any(|mount| mount.target == working_dir) {
            // Of its own, so that whoever the step runs as can write there.
            layout.empty("work", &working_dir, &format!("{VOLUMES_DIR}/work"));
        }
        for (n, placed) in placed.iter().enumerate() {
            layout.place(n, placed, settings)?;
        }
        Ok(layout)
    }

    fn resource(&mut self, directory: &str) {
        if self.features.image_volumes {
            self.volumes.push(image_volume("resource", &self.image.reference));
            self.main.push(VolumeMount {
                sub_path: Some(directory.trim_start_matches('/').to_owned()),
                ..read_only("resource", RESOURCE_DIR)
            });
        } else {
            self.volumes.push(empty_dir("resource"));
            self.main.push(read_only("resource", RESOURCE_DIR));
        }
    }

    fn place(&mut self, n: usize, placed: &Placed, settings: &Settings) -> Result<(), String> {
        let name = format!("volume-{n}");
        let path = format!("{VOLUMES_DIR}/{n}");
        let publish =
            |volume: &VolumeHandle| Published { volume: volume.to_string(), path: path.clone() };
        match &placed.source {
            MountSource::Input { volume, copy } => {
                self.filled(&name, &placed.target, &path, volume);
                if let Some(copy) = copy {
                    self.published.push(publish(copy));
                    self.helper.push(self.own(mount(&name, &path)));
                }
                if let Some(image) = self.found.images.get(volume) {
                    self.image_input(n, &image.reference, placed, copy.is_some())?;
                }
            }
            MountSource::Output(volume) => {
                self.empty(&name, &placed.target, &path);
                self.published.push(publish(volume));
                self.helper.push(self.own(mount(&name, &path)));
            }
            MountSource::Cache(volume) => {
                if let Some(caches) = &settings.cache_claim {
                    let sub_path = jb_artifacts::cache_path(volume.as_str());
                    let sub_path = sub_path.ok_or_else(|| {
                        format!("the name of cache `{volume}` is too long for a directory")
                    })?;
                    if !self.volumes.iter().any(|volume| volume.name == "caches") {
                        self.volumes.push(claim("caches", caches));
                    }
                    self.writable.push(placed.target.clone());
                    self.main.push(VolumeMount {
                        sub_path: Some(sub_path),
                        ..mount("caches", &placed.target)
                    });
                } else {
                    self.empty(&name, &placed.target, &path);
                }
            }
            MountSource::Link(link) => {
                self.link(&name, &path, link, self.found.peer)?;
                self.volumes.push(empty_dir(&name));
                self.main.push(mount(&name, &placed.target));
            }
        }
        Ok(())
    }

    /// The files of an image that is an input: nodes have them, and share them among their pods.
    fn image_input(
        &mut self,
        n: usize,
        reference: &str,
        placed: &Placed,
        kept: bool,
    ) -> Result<(), String> {
        if !self.features.image_volumes {
            return Err(format!(
                "the input at `{}` is an image, whose files steps see where the cluster has image volumes only: \
                 upgrade it to Kubernetes 1.35, or get the image with `params: {{format: oci}}`",
                placed.target
            ));
        }
        let name = format!("image-{n}");
        self.volumes.push(image_volume(&name, reference));
        self.main.push(read_only(&name, &format!("{}/rootfs", placed.target)));
        if kept {
            self.helper.push(read_only(&name, &format!("{VOLUMES_DIR}/{n}/rootfs")));
        }
        Ok(())
    }

    fn uses_volumes(&self) -> bool {
        !self.extracted.is_empty() || !self.published.is_empty() || self.image.root.is_some()
    }

    fn wanted(&self) -> Vec<Wanted> {
        let inputs = self.extracted.iter().map(|(volume, path)| Wanted {
            volume: volume.clone(),
            path: path.clone(),
            is_file: false,
        });
        let root = self.image.root.iter().map(|volume| Wanted {
            volume: volume.to_string(),
            path: ROOT_FILE.to_owned(),
            is_file: true,
        });
        inputs.chain(root).collect()
    }

    fn add_claim(&mut self, wanted: &[Wanted], settings: &Settings) {
        match settings.artifact_claim() {
            Some(artifacts) if self.uses_volumes() => {
                self.volumes.push(claim("artifacts", artifacts));
            }
            None if !wanted.is_empty() => self.volumes.push(empty_dir("prepare")),
            _ => {}
        }
        if !self.published.is_empty() {
            self.volumes.push(empty_dir("helper"));
        }
    }

    /// Copies the programs where no image can be mounted.
    fn install(&self, settings: &Settings, security: &Security<'_>) -> Vec<Container> {
        if self.features.image_volumes {
            return Vec::new();
        }
        let install =
            |target: &str| Command::Install { target: target.to_owned(), directory: None };
        let args = |command: &Command| -> Vec<String> {
            std::iter::once("/jb-artifacts".to_owned()).chain(command.to_args()).collect()
        };
        // The runner's image has no users of its own.
        let context = match security.run_as {
            RunAs::Image => Security { run_as: RunAs::User { uid: 65532, gid: None }, ..*security },
            _ => Security { ..*security },
        };
        let mut containers = vec![Container {
            name: INSTALL.to_owned(),
            image: Some(settings.images.runner.clone()),
            command: Some(args(&install(PROGRAMS_DIR))),
            volume_mounts: Some(vec![mount("runner", PROGRAMS_DIR)]),
            ..context.container()
        }];
        if let Some(directory) = &self.image.resource {
            let copy = Command::Install {
                target: PROGRAMS_DIR.to_owned(),
                directory: Some((directory.clone(), RESOURCE_DIR.to_owned())),
            };
            containers.push(Container {
                name: format!("{INSTALL}-resource"),
                image: Some(self.image.reference.clone()),
                command: Some(command(&copy)),
                volume_mounts: Some(vec![
                    mount("runner", PROGRAMS_DIR),
                    mount("resource", RESOURCE_DIR),
                ]),
                ..security.container()
            });
        }
        containers
    }

    /// Makes the step's directories and extracts inputs, as the step's own user: it has the step's image. Without a claim
    /// it waits to be told where they are.
    fn prepare(&self, wanted: &[Wanted], security: &Security<'_>) -> Option<Container> {
        if self.prepared.is_empty() && wanted.is_empty() {
            return None;
        }
        let mut mounts = self.prepared.clone();
        mounts.push(read_only("runner", PROGRAMS_DIR));
        let has_claim = security.settings.artifact_claim().is_some();
        let is_told = !has_claim && !wanted.is_empty();
        if has_claim {
            mounts.push(read_only("artifacts", ARTIFACTS_DIR));
        } else if is_told {
            mounts.push(mount("prepare", STATE_DIR));
        }
        if self.image.root.is_some() {
            mounts.push(mount("root", ROOT_DIR));
        }
        let pair = |wanted: &Wanted| (wanted.volume.clone(), wanted.path.clone());
        let extract = Command::Extract {
            volumes: wanted.iter().filter(|wanted| !wanted.is_file).map(pair).collect(),
            owners: false,
            image: wanted.iter().find(|wanted| wanted.is_file).map(pair),
            made: self.made.clone(),
        };
        Some(Container {
            name: PREPARE.to_owned(),
            image: Some(self.image.reference.clone()),
            command: Some(if is_told {
                let make = self.made.iter().flat_map(|directory| ["--make", directory]);
                let mut serve = serve(&program("jb-runner"), false);
                serve.extend(make.map(str::to_owned));
                serve
            } else {
                command(&extract)
            }),
            volume_mounts: Some(mounts),
            ..security.container()
        })
    }

    /// Publishes outputs when the server asks for it.
    fn helper(&self, image: &PodImage, security: &Security<'_>) -> Option<Container> {
        if self.published.is_empty() {
            return None;
        }
        let mut mounts = self.helper.clone();
        mounts.extend([mount("helper", STATE_DIR), read_only("runner", PROGRAMS_DIR)]);
        if security.settings.artifact_claim().is_some() {
            mounts.push(mount("artifacts", ARTIFACTS_DIR));
        }
        Some(Container {
            name: HELPER.to_owned(),
            image: Some(image.reference.clone()),
            command: Some(serve(&program("jb-runner"), false)),
            volume_mounts: Some(mounts),
            ..security.container()
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
