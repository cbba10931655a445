//! Uploads.

use std::path::Path;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::digest::Digest;
use crate::error::Error;
use crate::image::Descriptor;
use crate::registry::Registry;
use crate::registry::exchange::{Access, Request, refusal, transport, unchanged};

impl Registry {
    /// Whether the repository has this blob.
    pub async fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, Error> {
        let request = Request {
            attempted: format!("look up {digest} in {}/{repository}", self.name()),
            repository,
            access: Access::Push,
            method: Method::HEAD,
            url: self.url(repository, &format!("blobs/{digest}"))?,
            build: &unchanged,
        };
        let response = self.send_any(&request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(refusal(&request.attempted, response).await),
        }
    }

    /// Uploads a file as a blob unless it is there already; tells whether it was uploaded.
    pub async fn push_blob(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        file: &Path,
    ) -> Result<bool, Error> {
        if self.has_blob(repository, &descriptor.digest).await? {
            return Ok(false);
        }
        let attempted = format!("upload {} to {}/{repository}", descriptor.digest, self.name());
        let mut attempt = 1;
        loop {
            // An upload that failed half-way is begun anew: its session may be gone.
            match self.upload(&attempted, repository, descriptor, file).await {
                Ok(()) => return Ok(true),
                Err(error @ (Error::Transport { .. } | Error::Refused { status: 500.., .. })) => {
                    if !self.wait(&attempted, attempt, &error.to_string(), None).await {
                        return Err(error);
                    }
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn upload(
        &self,
        attempted: &str,
        repository: &str,
        descriptor: &Descriptor,
        file: &Path,
    ) -> Result<(), Error> {
        let empty = |request: RequestBuilder| Ok(request.header(CONTENT_LENGTH, 0));
        let start = Request {
            attempted: attempted.to_owned(),
            repository,
            access: Access::Push,
            method: Method::POST,
            url: self.url(repository, "blobs/uploads/")?,
            build: &empty,
        };
        let response = self.send(start).await?;
        let mut url = location(attempted, &response)?;
        url.query_pairs_mut().append_pair("digest", descriptor.digest.as_str());
        let login = if url.origin() == self.shared.base.origin() {
            self.authorization(&format!("repository:{repository}:pull,push"), false).await?
        } else {
            None
        };
        let open = tokio::fs::File::open(file).await;
        let open = open.map_err(|cause| Error::File {
            attempted: format!("read {}", file.display()),
            cause,
        })?;
        let mut request = self
            .shared
            .http
            .put(url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, descriptor.size)
            .body(reqwest::Body::from(open));
        if let Some(login) = login {
            request = request.header(reqwest::header::AUTHORIZATION, login);
        }
        let response = request.send().await.map_err(|error| transport(attempted, error))?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(refusal(attempted, response).await)
        }
    }

    /// Stores a manifest or index under a tag or its digest.
    pub async fn push_manifest(
        &self,
        repository: &str,
        identifier: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let body = |request: RequestBuilder| {
            Ok(request.header(CONTENT_TYPE, media_type).body(bytes.to_vec()))
        };
        let request = Request {
            attempted: format!("push {}", self.image_name(repository, identifier)),
            repository,
            access: Access::Push,
            method: Method::PUT,
            url: self.url(repository, &format!("manifests/{identifier}"))?,
            build: &body,
        };
        self.send(request).await.map(|_| ())
    }
}

fn location(attempted: &str, response: &Response) -> Result<Url, Error> {
    let header = response.headers().get(LOCATION).and_then(|header| header.to_str().ok());
    header.and_then(|location| response.url().join(location).ok()).ok_or_else(|| Error::Invalid {
        attempted: attempted.to_owned(),
        reason: "the registry did not say where to upload to".to_owned(),
    })
}
