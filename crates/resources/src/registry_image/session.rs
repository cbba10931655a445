//! Connections to the registry of a source, and to its mirror.

use std::sync::Arc;

use jb_oci::{Credentials, Options, Registry};

use crate::log::Log;
use crate::registry_image::source::Source;

/// Where a repository is asked for.
#[derive(Debug)]
pub(super) struct Place {
    host: String,
    pub(super) repository: String,
    login: Option<Credentials>,
    pub(super) is_mirror: bool,
}

impl Place {
    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    pub(super) async fn connect(
        &self,
        source: &Source,
        log: &Log,
    ) -> Result<Registry, jb_oci::Error> {
        let log = *log;
        let options = Options {
            credentials: self.login.clone(),
            insecure: source.insecure,
            ca_certs: source.ca_certs.clone(),
            on_retry: Some(Arc::new(move |text: &str| log.warn(text))),
            ..Options::default()
        };
        Registry::connect(&self.host, options).await
    }
}

/// The registry itself.
pub(super) fn origin(source: &Source) -> Place {
    Place {
        host: source.reference.registry.clone(),
        repository: source.reference.repository.clone(),
        login: source.login.clone(),
        is_mirror: false,
    }
}

/// Where to read from, in this order: a mirror stands in only for the default registry.
pub(super) fn places(source: &Source) -> Vec<Place> {
    let mirror = source.mirror.as_ref().filter(|_| source.reference.is_docker_hub());
    let mirror = mirror.map(|mirror| Place {
        host: mirror.host.clone(),
        repository: source.reference.repository.clone(),
        login: mirror.login.clone(),
        is_mirror: true,
    });
    mirror.into_iter().chain([origin(source)]).collect()
}
