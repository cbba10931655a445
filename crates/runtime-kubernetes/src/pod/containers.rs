//! The containers of a pod, and what they may do.

use std::collections::BTreeMap;

use jb_artifacts::command::{ARTIFACTS_DIR, Command};
use jb_runtime::{ContainerKind, ContainerSpec};
use k8s_openapi::api::core::v1::{Capabilities, Container, ResourceRequirements, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::layout::{Layout, mount, read_only};
use super::{
    HELPER, MAIN, PREPARE, PROGRAMS_DIR, PULL_POLICY, PodImage, RESOURCE_DIR, ROOT_DIR, ROOT_FILE,
    STATE_DIR, Wanted,
};
use crate::probe::Features;
use crate::settings::{PodSecurity, Settings};
use crate::user::{self, RunAs};

pub(super) const INSTALL: &str = "install";
/// The runner's socket.
const SOCKET: &str = "/.jetbridge/state/sock";
/// What CPU shares are counted against, as the kernel does.
const SHARES_PER_CPU: u64 = 1024;

/// The runner as a container's first process.
pub(super) fn serve(program: &str, echo: bool) -> Vec<String> {
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

/// What containers of a pod may do.
pub(super) struct Security<'a> {
    pub(super) settings: &'a Settings,
    pub(super) features: Features,
    pub(super) run_as: RunAs,
    pub(super) privileged: bool,
}

impl Security<'_> {
    pub(super) fn context(&self) -> SecurityContext {
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
    pub(super) fn container(&self) -> Container {
        Container {
            image_pull_policy: Some(PULL_POLICY.to_owned()),
            security_context: Some(self.context()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }
    }
}

pub(super) fn main_container(
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

impl Layout<'_> {
    /// Copies the programs where no image can be mounted.
    pub(super) fn install(&self, settings: &Settings, security: &Security<'_>) -> Vec<Container> {
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
    pub(super) fn prepare(&self, wanted: &[Wanted], security: &Security<'_>) -> Option<Container> {
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
    pub(super) fn helper(&self, image: &PodImage, security: &Security<'_>) -> Option<Container> {
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
