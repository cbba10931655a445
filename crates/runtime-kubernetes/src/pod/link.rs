//! A socket between two pods: in each stands a forwarder beside the step, and they speak TCP.

use std::net::{IpAddr, SocketAddr};

use jb_runtime::{ContainerKind, ContainerSpec, Link, MountSource};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{AGENT_PROGRAMS_DIR, LINK, Layout, RunAs, Security, mount, read_only};
use crate::network::link::PORT;
use crate::settings::Settings;

/// A container's end of a link, if it has one.
pub(crate) fn of(spec: &ContainerSpec) -> Option<&Link> {
    spec.mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Link(link) => Some(link),
        _ => None,
    })
}

/// A forwarder between the socket in a pod's directory and the other pod.
pub(super) struct Forwarder {
    directory: VolumeMount,
    listen: String,
    connect: String,
}

impl Layout<'_> {
    /// The directory itself; the other pod is at `peer`.
    pub(super) fn link(
        &mut self,
        name: &str,
        path: &str,
        link: &Link,
        peer: Option<IpAddr>,
    ) -> Result<(), String> {
        let socket = format!("{path}/{}", link.socket);
        let (listen, connect) = match (link.serves, peer) {
            (true, _) => (format!("*:{PORT}"), socket),
            (false, Some(peer)) => (socket, SocketAddr::new(peer, PORT).to_string()),
            (false, None) => {
                return Err(format!("nobody serves the socket `{}`", link.volume));
            }
        };
        if self.forwarder.is_some() {
            return Err("a container has one link at most".to_owned());
        }
        self.forwarder = Some(Forwarder { directory: mount(name, path), listen, connect });
        Ok(())
    }

    /// Where agents, their gateways and servers find their program.
    pub(super) fn agent_programs(&mut self, kind: ContainerKind) {
        if kind.has_agent_program() {
            self.main.push(read_only("runner", AGENT_PROGRAMS_DIR));
        }
    }
}

impl Forwarder {
    /// It has the runner's image and no more than it needs: no secret of the step is in it.
    pub(super) fn container(&self, settings: &Settings, security: &Security<'_>) -> Container {
        let security = match security.run_as {
            RunAs::Image => Security { run_as: RunAs::User { uid: 65532, gid: None }, ..*security },
            _ => Security { ..*security },
        };
        let command = ["/jb-agent", "link", &self.listen, &self.connect];
        Container {
            name: LINK.to_owned(),
            image: Some(settings.images.runner.clone()),
            command: Some(command.map(str::to_owned).to_vec()),
            volume_mounts: Some(vec![self.directory.clone()]),
            ..security.container()
        }
    }
}
