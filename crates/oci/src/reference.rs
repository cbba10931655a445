//! Names of images: `[registry/]repository[:tag][@digest]`.

use std::fmt;

use crate::digest::Digest;

/// The registry that names without one mean.
const DOCKER_HUB: &str = "docker.io";

/// A checked image name. The registry is a host with an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not an image name: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// Parses a name. Without a registry it is Docker Hub's, whose single-word repositories are below `library/`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let error = |reason| ReferenceError { text: text.chars().take(300).collect(), reason };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (
                name,
                Some(Digest::parse(digest).map_err(|_| error("what follows @ is not a digest"))?),
            ),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it is a port's.
        let (name, tag) = match name.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(error(
                "the tag has characters that tags cannot have, or is longer than 128",
            ));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => (DOCKER_HUB, name.to_owned()),
            None => (DOCKER_HUB, format!("library/{name}")),
        };
        if !is_host(registry) {
            return Err(error("the registry is not a host name"));
        }
        if !is_repository(&repository) {
            return Err(error("repositories are lower-case words joined by /, ., _ and -"));
        }
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let tag = tag.map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Whether the name stood without a registry, or named Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        self.registry == DOCKER_HUB
    }

    /// What a manifest is asked for by: the digest, else the tag, else `latest`.
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Whether a registry would accept this tag.
pub(crate) fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_repository(name: &str) -> bool {
    let word = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
            && part.bytes().all(|byte| inner(byte) || b"._-".contains(&byte))
            && !part.contains("..")
    };
    name.len() <= 255 && name.split('/').all(word)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    port.is_none_or(|port| port.parse::<u16>().is_ok())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
}

#[cfg(test)]
mod tests;
