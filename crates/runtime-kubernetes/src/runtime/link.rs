//! The two pods of a link: where the one is, and that the other may reach it.

use std::io;
use std::net::IpAddr;

use jb_runtime::{ContainerSpec, Error, Link, Result};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::Inner;
use crate::api;
use crate::network::kept::apply;
use crate::network::link::{admission, serves};
use crate::pod::link;

impl Inner {
    /// Where the pod that serves a link is, once it has an address.
    pub(super) async fn peer(&self, link: &Link, deadline: Instant) -> Result<IpAddr> {
        let context = || format!("cannot reach socket `{}`", link.volume);
        let mut changes = self.table.changes();
        loop {
            changes.mark_unchanged();
            let Some(pod) = self.table.all().into_iter().find(|pod| serves(pod, link)) else {
                let source =
                    io::Error::new(io::ErrorKind::NotFound, "the pod that serves it is gone");
                return Err(Error::io(context(), source));
            };
            if let Some(address) = address(&pod) {
                return Ok(address);
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                let source = io::Error::new(io::ErrorKind::TimedOut, "its pod has no address");
                return Err(Error::Transient { context: context(), source });
            }
        }
    }

    /// Lets the other end of a link in. Until then nobody reaches the pod that serves it.
    pub(super) async fn admit(&self, spec: &ContainerSpec) -> Result<()> {
        let Some(link) = link::of(spec).find(|link| link.serves) else { return Ok(()) };
        let pod = self.pod_of(&spec.handle).await?;
        let policy = admission(&self.settings, link, &pod);
        apply(&self.policies, &policy).await.map(drop).map_err(|error| {
            api::failed(format!("cannot let its peer reach container `{}`", spec.handle), error)
        })
    }
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}
