//! Objects written in parts. They come to be when the last word is said, and not before.

use std::time::Duration;

use reqwest::Method;
use rusty_s3::S3Action as _;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use url::Url;

use crate::{Error, Kind, ObjectStore, PART_BYTES};

/// Parts that stores take.
const PARTS_MAX: u16 = 10_000;

const OWN_LIFE: Duration = Duration::from_secs(15 * 60);

impl ObjectStore {
    /// Begins an upload; returns its id.
    pub async fn begin_upload(&self, name: &str) -> Result<String, Error> {
        let key = self.key(name);
        let attempt = || format!("cannot begin to write object `{key}`");
        let action = self.bucket.create_multipart_upload(Some(&self.credentials), &key);
        let url = action.sign(OWN_LIFE);
        let answer = self.send(Method::POST, url.as_str(), Vec::new(), attempt).await?;
        let text = self.text(answer, attempt).await?;
        let begun = CreateMultipartUpload::parse_response(&text);
        begun
            .map(|begun| begun.upload_id().to_owned())
            .map_err(|error| self.unreadable(attempt(), error))
    }

    /// An address that writes a part; they are counted from 1.
    pub fn part_url(&self, name: &str, upload: &str, part: u16, life: Duration) -> String {
        let key = self.key(name);
        self.bucket.upload_part(Some(&self.credentials), &key, part, upload).sign(life).into()
    }

    /// Makes an upload an object. Harmless to repeat.
    pub async fn finish_upload(
        &self,
        name: &str,
        upload: &str,
        tags: &[String],
    ) -> Result<(), Error> {
        let key = self.key(name);
        let attempt = || format!("cannot finish writing object `{key}`");
        let tags = tags.iter().map(String::as_str);
        let credentials = Some(&self.credentials);
        let action = self.bucket.complete_multipart_upload(credentials, &key, upload, tags);
        let url = action.sign(OWN_LIFE);
        let body = action.body().into_bytes();
        let answer = self.send(Method::POST, url.as_str(), body, attempt).await;
        let answer = match answer {
            // It was finished before, and the answer got lost.
            Err(error) if error.kind == Kind::Missing && self.has(name).await? => return Ok(()),
            answer => answer?,
        };
        let status = answer.status();
        let text = self.text(answer, attempt).await?;
        // Stores begin to answer before they know how it ends.
        match CompleteMultipartUploadResponse::parse(&text) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.judged(status, &text, &attempt())),
        }
    }

    /// Gives an upload up; the store forgets its parts.
    pub async fn abandon_upload(&self, name: &str, upload: &str) -> Result<(), Error> {
        let attempt = || format!("cannot give up writing object `{}`", self.key(name));
        let url = self.abandon_url(name, upload);
        match self.send(Method::DELETE, url.as_str(), Vec::new(), attempt).await {
            Err(error) if error.kind != Kind::Missing => Err(error),
            _ => Ok(()),
        }
    }

    fn abandon_url(&self, name: &str, upload: &str) -> Url {
        let key = self.key(name);
        self.bucket.abort_multipart_upload(Some(&self.credentials), &key, upload).sign(OWN_LIFE)
    }

    /// Writes a stream, in parts when it is long. When the stream fails, or nobody waits for this any more, there is no
    /// object and no part of it; the stream's error is the outer one.
    pub async fn write_stream(
        &self,
        name: &str,
        mut content: impl AsyncRead + Unpin,
    ) -> std::io::Result<Result<(), Error>> {
        let mut part = read_part(&mut content).await?;
        if part.len() < PART_BYTES {
            return Ok(self.write(name, part).await);
        }
        let mut begun = match self.begin_upload(name).await {
            Ok(upload) => Begun { store: self, name, upload: Some(upload) },
            Err(error) => return Ok(Err(error)),
        };
        let upload = begun.upload.clone().unwrap_or_default();
        let mut tags = Vec::new();
        let written = loop {
            if part.is_empty() {
                break Ok(self.finish_upload(name, &upload, &tags).await);
            }
            match self.write_part(name, &upload, tags.len() + 1, part).await {
                Ok(tag) => tags.push(tag),
                Err(error) => break Ok(Err(error)),
            }
            part = match read_part(&mut content).await {
                Ok(part) => part,
                Err(error) => break Err(error),
            };
        };
        if !matches!(written, Ok(Ok(())))
            && let Err(error) = self.abandon_upload(name, &upload).await
        {
            tracing::warn!(%error, "parts of an object that will not be stay in the store");
        }
        begun.upload = None;
        written
    }

    async fn write_part(
        &self,
        name: &str,
        upload: &str,
        part: usize,
        content: Vec<u8>,
    ) -> Result<String, Error> {
        let attempt = || format!("cannot write part {part} of object `{}`", self.key(name));
        let number = part_number(part).map_err(|why| Error {
            kind: Kind::Other,
            attempt: attempt(),
            why,
        })?;
        let url = self.part_url(name, upload, number, OWN_LIFE);
        let answer = self.send(Method::PUT, &url, content, attempt).await?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
        tag.map(str::to_owned).ok_or_else(|| self.unreadable(attempt(), "it names no tag"))
    }
}

/// What the store calls a part, as long as it takes more.
fn part_number(part: usize) -> Result<u16, String> {
    let number = u16::try_from(part).ok().filter(|number| *number <= PARTS_MAX);
    number.ok_or_else(|| {
        let gib = (PART_BYTES * usize::from(PARTS_MAX)) >> 30;
        format!("it is larger than the {gib} GiB that an object may have")
    })
}

/// An upload under way. Where whoever waits for it goes away, it is given up.
struct Begun<'a> {
    store: &'a ObjectStore,
    name: &'a str,
    /// None once it is over.
    upload: Option<String>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        let url = self.store.abandon_url(self.name, &upload);
        let key = self.store.key(self.name);
        let request = self.store.client.delete(url);
        // Without one this process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = request.send().await {
                let error = error.without_url();
                tracing::warn!(key, %error, "parts of an object that will not be stay in the store");
            }
        });
    }
}

async fn read_part(content: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut part = Vec::new();
    content.take(PART_BYTES as u64).read_to_end(&mut part).await?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_parts_than_stores_take_are_refused_in_words() {
        assert_eq!(part_number(10_000), Ok(10_000));
        let why = "it is larger than the 156 GiB that an object may have";
        assert_eq!(part_number(10_001), Err(why.to_owned()));
        assert_eq!(part_number(70_000), Err(why.to_owned()));
    }
}
