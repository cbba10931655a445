//! Ports of a pod's loopback on which its runners listen. Its node joins them to the server without a process in the pod,
//! which an executed command takes. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::containers::INSTALL;
use super::{HELPER, LINK, MAIN, PREPARE};

/// Of the containers of a pod, which share them. Beyond what Linux gives out by itself, so that steps do not meet them.
const PORTS: [(&str, u16); 3] = [(MAIN, 64117), (HELPER, 64118), (PREPARE, 64119)];
const KEY: &str = "--key";

/// Has the runners of a pod listen for whoever has the key that fits `lock`, unless somebody in the pod could read what is
/// said on its loopback, or have the port before the runner does.
pub(crate) fn open(pod: &mut Pod, lock: &str) {
    let Some(spec) = pod.spec.as_mut().filter(|spec| is_private(spec)) else { return };
    let init = spec.init_containers.iter_mut().flatten();
    for container in init.chain(&mut spec.containers) {
        if let Some(port) = of(&container.name)
            && let Some(command) = &mut container.command
            && command.get(1).is_some_and(|verb| verb == "serve")
        {
            command.extend(["--port", &port.to_string(), KEY, lock].map(str::to_owned));
        }
    }
}

/// The port of a container's runner, if it listens for whoever has that key.
pub(crate) fn to(pod: &Pod, container: &str, lock: &str) -> Option<u16> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let command = all.find(|one| one.name == container)?.command.as_ref()?;
    let is_known = command.windows(2).any(|words| words[0] == KEY && words[1] == lock);
    of(container).filter(|_| is_known)
}

fn of(container: &str) -> Option<u16> {
    PORTS.iter().find(|(name, _)| *name == container).map(|(_, port)| *port)
}

/// Whether nobody in a pod has the right to listen in, and every container begins with a program of ours.
fn is_private(spec: &PodSpec) -> bool {
    let init = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(init).all(|container| {
        let name = container.name.as_str();
        let is_ours = [MAIN, HELPER, PREPARE].contains(&name)
            || name.starts_with(INSTALL)
            || name.starts_with(LINK);
        is_ours && has_no_rights(container)
    })
}

fn has_no_rights(container: &Container) -> bool {
    let Some(context) = &container.security_context else { return false };
    let Some(capabilities) = &context.capabilities else { return false };
    context.allow_privilege_escalation == Some(false)
        && context.privileged != Some(true)
        && capabilities.add.is_none()
        && capabilities.drop.iter().flatten().any(|capability| capability == "ALL")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::tests::{ALL, image, settings, task};
    use super::super::{Found, step};
    use super::*;
    use crate::settings::{PodSecurity, Settings};

    const LOCK: &str = "0a0b";

    fn opened(settings: &Settings) -> Pod {
        let mut pod = step(&task(), &image(), &Found::default(), settings, ALL).unwrap();
        open(&mut pod, LOCK);
        pod
    }

    fn listen(pod: &Pod, lock: &str) -> Vec<Option<u16>> {
        [MAIN, HELPER, PREPARE, "link"].map(|name| to(pod, name, lock)).to_vec()
    }

    #[test]
    fn each_runner_of_a_restricted_pod_has_its_port() {
        let pod = opened(&settings());
        // `prepare` does its work without being asked to, where volumes are in a claim.
        assert_eq!(listen(&pod, LOCK), [Some(64117), Some(64118), None, None]);
        assert_eq!(listen(&pod, "another"), [None; 4]);
        let command = pod.spec.as_ref().unwrap().containers[0].command.as_ref().unwrap();
        assert_eq!(command[command.len() - 4..], ["--port", "64117", "--key", LOCK]);
    }

    #[test]
    fn nobody_listens_where_somebody_could_listen_in() {
        for pod_security in [PodSecurity::Baseline, PodSecurity::Privileged] {
            let settings = Settings { pod_security, ..settings() };
            assert_eq!(listen(&opened(&settings), LOCK), [None; 4]);
        }
    }

    #[test]
    fn nobody_listens_beside_a_container_that_is_not_ours() {
        let mut pod = step(&task(), &image(), &Found::default(), &settings(), ALL).unwrap();
        let spec = pod.spec.as_mut().unwrap();
        let other = Container { name: "database".into(), ..spec.containers[0].clone() };
        spec.containers.push(other);
        open(&mut pod, LOCK);
        assert_eq!(listen(&pod, LOCK), [None; 4]);
    }
}
