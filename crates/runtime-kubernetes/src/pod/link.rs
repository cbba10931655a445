//! A socket between two pods: in each stands a forwarder beside the step, and they speak TCP.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use jb_model::VolumeHandle;
use jb_runtime::{ContainerKind, ContainerSpec, Link, MountSource};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{AGENT_PROGRAMS_DIR, LINK, Layout, RunAs, Security, mount, read_only};
use crate::network::link::PORT;
use crate::settings::Settings;

/// A container's ends of links.
pub(crate) fn of(spec: &ContainerSpec) -> impl Iterator<Item = &Link> {
    spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Link(link) => Some(link),
        _ => None,
    })
}

/// A forwarder between the socket in a pod's directory and the other pod.
pub(super) struct Forwarder {
    name: String,
    serves: bool,
    directory: VolumeMount,
    listen: String,
    connect: String,
}

impl Layout<'_> {
    /// The directory itself; the other pods are at `peers`.
    pub(super) fn link(
        &mut self,
        name: &str,
        path: &str,
        link: &Link,
        peers: &BTreeMap<VolumeHandle, IpAddr>,
    ) -> Result<(), String> {
        let socket = format!("{path}/{}", link.socket);
        let (listen, connect) = match (link.serves, peers.get(&link.volume)) {
            (true, _) => (format!("*:{PORT}"), socket),
            (false, Some(peer)) => (socket, SocketAddr::new(*peer, PORT).to_string()),
            (false, None) => {
                return Err(format!("nobody serves the socket `{}`", link.volume));
            }
        };
        if link.serves && self.forwarders.iter().any(|forwarder| forwarder.serves) {
            return Err("a container serves one link at most".to_owned());
        }
        let own = match self.forwarders.len() {
            0 => LINK.to_owned(),
            n => format!("{LINK}-{n}"),
        };
        let (directory, serves) = (mount(name, path), link.serves);
        self.forwarders.push(Forwarder { name: own, serves, directory, listen, connect });
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
            name: self.name.clone(),
            image: Some(settings.images.runner.clone()),
            command: Some(command.map(str::to_owned).to_vec()),
            volume_mounts: Some(vec![self.directory.clone()]),
            ..security.container()
        }
    }
}
