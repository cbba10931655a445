//! Connections to the registry of a source, and to its mirror.

use super::source::Source;
use crate::error::Error;
use crate::registry::{Credentials, OnRetry, Options, Registry};

/// Where a repository is asked for.
#[derive(Debug)]
pub struct Place {
    pub host: String,
    pub repository: String,
    pub login: Option<Credentials>,
    pub is_mirror: bool,
}

impl Place {
    /// For messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    pub async fn connect(&self, source: &Source, on_retry: OnRetry) -> Result<Registry, Error> {
        let options = Options {
            credentials: self.login.clone(),
            insecure: source.insecure,
            ca_certs: source.ca_certs.clone(),
            on_retry: Some(on_retry),
            ..Options::default()
        };
        Registry::connect(&self.host, options).await
    }
}

/// The registry itself.
pub fn origin(source: &Source) -> Place {
    Place {
        host: source.reference.registry.clone(),
        repository: source.reference.repository.clone(),
        login: source.login.clone(),
        is_mirror: false,
    }
}

/// Where to read from, in this order: a mirror stands in only for the default registry.
pub fn places(source: &Source) -> Vec<Place> {
    let mirror = source.mirror.as_ref().filter(|_| source.reference.is_docker_hub());
    let mirror = mirror.map(|mirror| Place {
        host: mirror.host.clone(),
        repository: source.reference.repository.clone(),
        login: mirror.login.clone(),
        is_mirror: true,
    });
    mirror.into_iter().chain([origin(source)]).collect()
}
