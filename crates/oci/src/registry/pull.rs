//! Manifests and blobs, verified.

use std::path::Path;

use reqwest::header::{ACCEPT, CONTENT_TYPE, RANGE};
use reqwest::{Method, RequestBuilder, StatusCode};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use crate::digest::Digest;
use crate::error::Error;
use crate::image::{Descriptor, ImageConfig, Manifest, ManifestKind, media_type};
use crate::platform::Platform;
use crate::registry::Registry;
use crate::registry::exchange::{Access, Request, read_body, refusal, transport, unchanged};

/// Manifests and indexes are at most this large.
const MAX_MANIFEST: u64 = 16 << 20;
/// Image configurations are at most this large.
const MAX_CONFIG: u64 = 32 << 20;

/// A manifest or index as the registry has it.
#[derive(Debug, Clone)]
pub struct RawManifest {
    pub bytes: Vec<u8>,
    pub media_type: String,
    /// Computed from the bytes.
    pub digest: Digest,
    pub kind: ManifestKind,
}

impl RawManifest {
    /// Reads a document of this (or, if empty, its own) media type.
    pub fn parse(bytes: Vec<u8>, media_type: &str) -> Result<Self, serde_json::Error> {
        let kind = ManifestKind::parse(&bytes, Some(media_type).filter(|given| !given.is_empty()))?;
        let (own, fallback) = match &kind {
            ManifestKind::Index(index) => (&index.media_type, media_type::OCI_INDEX),
            ManifestKind::Image(manifest) => (&manifest.media_type, media_type::OCI_MANIFEST),
        };
        // The document knows best: it is stored in places that name no or another type.
        let given = if media_type.is_empty() { fallback } else { media_type };
        let media_type = own.clone().unwrap_or_else(|| given.to_owned());
        Ok(Self { digest: Digest::of(&bytes), media_type, kind, bytes })
    }

    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.bytes.len() as u64)
    }
}

/// One image for one platform, with its configuration.
#[derive(Debug, Clone)]
pub struct Image {
    pub raw: RawManifest,
    pub manifest: Manifest,
    pub config: ImageConfig,
    pub raw_config: Vec<u8>,
}

impl Registry {
    /// The digest a tag (or digest) stands for; None when it is not there.
    pub async fn digest_of(
        &self,
        repository: &str,
        identifier: &str,
    ) -> Result<Option<Digest>, Error> {
        let attempted = format!("look up {}", self.image_name(repository, identifier));
        let accept = |request: RequestBuilder| Ok(request.header(ACCEPT, media_type::MANIFESTS));
        let request = Request {
            attempted,
            repository,
            access: Access::Pull,
            method: Method::HEAD,
            url: self.url(repository, &format!("manifests/{identifier}"))?,
            build: &accept,
        };
        let response = self.send_any(&request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let header =
            response.headers().get("docker-content-digest").and_then(|header| header.to_str().ok());
        if let (true, Some(Ok(digest))) =
            (response.status().is_success(), header.map(Digest::parse))
        {
            return Ok(Some(digest));
        }
        // Some registries do not answer this, or leave the digest out; the manifest itself has it.
        match self.manifest(repository, identifier).await {
            Ok(manifest) => Ok(Some(manifest.digest)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A manifest or index by tag or digest; a digest is verified.
    pub async fn manifest(&self, repository: &str, identifier: &str) -> Result<RawManifest, Error> {
        let attempted = format!("read the manifest of {}", self.image_name(repository, identifier));
        let accept = |request: RequestBuilder| Ok(request.header(ACCEPT, media_type::MANIFESTS));
        let request = Request {
            attempted: attempted.clone(),
            repository,
            access: Access::Pull,
            method: Method::GET,
            url: self.url(repository, &format!("manifests/{identifier}"))?,
            build: &accept,
        };
        let response = self.send(request).await?;
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|header| header.to_str().ok());
        let media_type = content_type
            .and_then(|text| text.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_owned();
        let bytes = read_body(&attempted, response, MAX_MANIFEST).await?;
        if let Ok(wanted) = Digest::parse(identifier) {
            verify(&attempted, &wanted, &bytes)?;
        }
        RawManifest::parse(bytes, &media_type).map_err(|error| Error::Invalid {
            attempted,
            reason: format!("it is not a manifest: {error}"),
        })
    }

    /// The image a tag or digest stands for on `platform`. An image that is not an index is taken as it is.
    pub async fn image(
        &self,
        repository: &str,
        identifier: &str,
        platform: &Platform,
    ) -> Result<Image, Error> {
        let mut raw = self.manifest(repository, identifier).await?;
        // An index may hold an index; more than a few levels are a mistake or a trap.
        for _ in 0..4 {
            let manifest = match &raw.kind {
                ManifestKind::Image(manifest) => manifest.clone(),
                ManifestKind::Index(index) => {
                    let Some(chosen) = platform.choose(index) else {
                        let platforms =
                            index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
                        let available: Vec<String> = platforms.map(Platform::to_string).collect();
                        return Err(Error::NoPlatform {
                            image: self.image_name(repository, identifier),
                            platform: platform.to_string(),
                            available: available.join(", "),
                        });
                    };
                    raw = self.manifest(repository, chosen.digest.as_str()).await?;
                    continue;
                }
            };
            let raw_config = self.blob(repository, &manifest.config).await?;
            let config = serde_json::from_slice(&raw_config).map_err(|error| Error::Invalid {
                attempted: format!(
                    "read the configuration of {}",
                    self.image_name(repository, identifier)
                ),
                reason: error.to_string(),
            })?;
            return Ok(Image { raw, manifest, config, raw_config });
        }
        let reason = "its indexes are nested too deeply".to_owned();
        Err(Error::Invalid {
            attempted: format!("read {}", self.image_name(repository, identifier)),
            reason,
        })
    }

    /// A small blob (a configuration) in memory.
    pub async fn blob(&self, repository: &str, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let attempted = format!("read {} of {}/{repository}", descriptor.digest, self.name());
        let limit = descriptor.size.min(MAX_CONFIG);
        let request = Request {
            attempted: attempted.clone(),
            repository,
            access: Access::Pull,
            method: Method::GET,
            url: self.url(repository, &format!("blobs/{}", descriptor.digest))?,
            build: &unchanged,
        };
        let response = self.send(request).await?;
        let bytes = read_body(&attempted, response, limit).await?;
        verify(&attempted, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// A blob of any size into a file, which exists afterwards only if its size and digest are right. A broken
    /// transfer is continued where it broke.
    pub async fn blob_to_file(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        path: &Path,
    ) -> Result<(), Error> {
        let outcome = self.download(repository, descriptor, path).await;
        if outcome.is_err() {
            let _ = tokio::fs::remove_file(path).await;
        }
        outcome
    }

    async fn download(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        path: &Path,
    ) -> Result<(), Error> {
        let attempted = format!("fetch {} of {}/{repository}", descriptor.digest, self.name());
        let local = |cause| Error::File { attempted: format!("write {}", path.display()), cause };
        let mut file = tokio::fs::File::create(path).await.map_err(local)?;
        let mut hasher = descriptor.digest.hasher();
        let mut written = 0_u64;
        let mut attempt = 1;
        loop {
            let from = written;
            let range = move |request: RequestBuilder| {
                Ok(if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request })
            };
            let request = Request {
                attempted: attempted.clone(),
                repository,
                access: Access::Pull,
                method: Method::GET,
                url: self.url(repository, &format!("blobs/{}", descriptor.digest))?,
                build: &range,
            };
            let mut response = self.send_any(&request).await?;
            if !response.status().is_success() {
                return Err(refusal(&attempted, response).await);
            }
            if from > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
                // The registry cannot continue; begin again.
                file.set_len(0).await.map_err(local)?;
                file.rewind().await.map_err(local)?;
                hasher = descriptor.digest.hasher();
                written = 0;
            }
            let broken = loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => {
                        written += chunk.len() as u64;
                        if written > descriptor.size {
                            return Err(Error::TooLarge { attempted, limit: descriptor.size });
                        }
                        hasher.update(&chunk);
                        file.write_all(&chunk).await.map_err(local)?;
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            let reason = match broken {
                None if written == descriptor.size => break,
                None => format!("it ended after {written} of {} bytes", descriptor.size),
                Some(error) => transport("continue", error).to_string(),
            };
            // Progress makes a new start; only attempts in vain are counted.
            attempt = if written > from { 1 } else { attempt };
            if !self.wait(&attempted, attempt, &reason, None).await {
                return Err(Error::Invalid { attempted, reason });
            }
            attempt += 1;
        }
        file.flush().await.map_err(local)?;
        let found = hasher.finish();
        if found != descriptor.digest {
            return Err(Error::WrongDigest { attempted, wanted: descriptor.digest.clone(), found });
        }
        Ok(())
    }

    pub(super) fn image_name(&self, repository: &str, identifier: &str) -> String {
        let separator = if identifier.contains(':') { '@' } else { ':' };
        format!("{}/{repository}{separator}{identifier}", self.name())
    }
}

fn verify(attempted: &str, wanted: &Digest, bytes: &[u8]) -> Result<(), Error> {
    let mut hasher = wanted.hasher();
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *wanted {
        return Ok(());
    }
    Err(Error::WrongDigest { attempted: attempted.to_owned(), wanted: wanted.clone(), found })
}
