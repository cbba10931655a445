//! Objects: found, read, written whole, listed, deleted, and addresses for others to do that.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use reqwest::{Client, Method, Response, StatusCode};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::io::AsyncRead;
use tokio::time::Instant;
use url::Url;

use crate::error::{element, kind_of};
use crate::{Error, Kind, Settings, SettingsError};

/// Bytes of every part of an upload but the last. Stores take 5 MiB and more, and 10,000 parts.
pub const PART_BYTES: usize = 16 << 20;
/// How long a store that is busy or away is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a store may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the addresses of this server's own requests are good.
const OWN_LIFE: Duration = Duration::from_secs(15 * 60);
/// The most that is kept of an answer that is not an object.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A bucket. Cheap to share, not to clone.
pub struct ObjectStore {
    pub(crate) bucket: Bucket,
    pub(crate) credentials: Credentials,
    pub(crate) client: Client,
    prefix: String,
    trust: Option<String>,
}

impl ObjectStore {
    /// Speaks to nobody yet.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Settings { bucket, prefix, endpoint, region, credentials, trust } = settings;
        let amazon = || format!("https://s3.{region}.amazonaws.com");
        // Names of buckets are names of hosts at Amazon only.
        let style = if endpoint.is_some() { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let endpoint = endpoint.unwrap_or_else(amazon);
        let wrong = || SettingsError::Endpoint(endpoint.clone());
        let url: Url = endpoint.parse().map_err(|_| wrong())?;
        let bucket = Bucket::new(url, style, bucket, region).map_err(|_| wrong())?;
        let credentials = match credentials.token {
            Some(token) => Credentials::new_with_token(credentials.key, credentials.secret, token),
            None => Credentials::new(credentials.key, credentials.secret),
        };
        let client = client(trust.as_deref()).map_err(SettingsError::Trust)?;
        Ok(Self { bucket, credentials, client, prefix, trust })
    }

    /// The certificates that others must trust to use its addresses, in PEM form, if not those of public authorities.
    pub fn trust(&self) -> Option<&str> {
        self.trust.as_deref()
    }

    /// Whether the bucket is there and may be used, for a start that fails early.
    pub async fn check(&self) -> Result<(), Error> {
        self.list_page("", None, 1).await.map(drop)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// An address that reads an object.
    pub fn read_url(&self, name: &str, life: Duration) -> String {
        let key = self.key(name);
        self.bucket.get_object(Some(&self.credentials), &key).sign(life).into()
    }

    /// An address that writes an object as a whole.
    pub fn write_url(&self, name: &str, life: Duration) -> String {
        let key = self.key(name);
        self.bucket.put_object(Some(&self.credentials), &key).sign(life).into()
    }

    /// An object's content, which ends with an error rather than too early; none when there is no such object.
    pub async fn read(
        &self,
        name: &str,
    ) -> Result<Option<impl AsyncRead + Send + Unpin + use<>>, Error> {
        let attempt = || format!("cannot read object `{}`", self.key(name));
        let url = self.read_url(name, OWN_LIFE);
        let answer = self.send(Method::GET, &url, Vec::new(), attempt).await;
        let Some(answer) = found(answer)? else { return Ok(None) };
        let bytes = answer.bytes_stream().map_err(io::Error::other);
        Ok(Some(tokio_util::io::StreamReader::new(Box::pin(bytes))))
    }

    /// A small object's content.
    pub async fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let attempt = || format!("cannot read object `{}`", self.key(name));
        let url = self.read_url(name, OWN_LIFE);
        let answer = self.send(Method::GET, &url, Vec::new(), attempt).await;
        let Some(answer) = found(answer)? else { return Ok(None) };
        self.text(answer, attempt).await.map(|text| Some(text.into_bytes()))
    }

    pub async fn has(&self, name: &str) -> Result<bool, Error> {
        let key = self.key(name);
        let url = self.bucket.head_object(Some(&self.credentials), &key).sign(OWN_LIFE);
        let attempt = || format!("cannot look for object `{key}`");
        let answer = self.send(Method::HEAD, url.as_str(), Vec::new(), attempt).await;
        Ok(found(answer)?.is_some())
    }

    /// Writes an object as a whole, in place of what was there.
    pub async fn write(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let url = self.write_url(name, OWN_LIFE);
        let attempt = || format!("cannot write object `{}`", self.key(name));
        self.send(Method::PUT, &url, content, attempt).await.map(drop)
    }

    /// Makes sure that an object is not there.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let key = self.key(name);
        let url = self.bucket.delete_object(Some(&self.credentials), &key).sign(OWN_LIFE);
        let attempt = || format!("cannot delete object `{key}`");
        let answer = self.send(Method::DELETE, url.as_str(), Vec::new(), attempt).await;
        found(answer).map(drop)
    }

    /// The names of all objects that begin with `start`, without the store's prefix.
    pub async fn list(&self, start: &str) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let page = self.list_page(start, token.as_deref(), 1000).await?;
            let keys = page.contents.into_iter().map(|object| object.key);
            names.extend(keys.filter_map(|key| Some(key.strip_prefix(&self.prefix)?.to_owned())));
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    async fn list_page(
        &self,
        start: &str,
        token: Option<&str>,
        max: usize,
    ) -> Result<rusty_s3::actions::ListObjectsV2Response, Error> {
        let prefix = self.key(start);
        let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
        action.with_prefix(prefix.as_str());
        action.with_max_keys(max);
        if let Some(token) = token {
            action.with_continuation_token(token);
        }
        let url = action.sign(OWN_LIFE);
        let attempt = || format!("cannot list objects `{prefix}*`");
        let answer = self.send(Method::GET, url.as_str(), Vec::new(), attempt).await;
        // Only a bucket can be missing here, whatever code comes with it.
        let answer = answer.map_err(|error| match error.kind {
            Kind::Missing => Error { kind: Kind::NoBucket, ..error },
            _ => error,
        })?;
        let text = self.text(answer, attempt).await?;
        ListObjectsV2::parse_response(&text).map_err(|error| self.unreadable(attempt(), error))
    }

    pub(crate) fn unreadable(&self, attempt: String, error: impl std::fmt::Display) -> Error {
        self.error(Kind::Other, &attempt, &format!("its answer cannot be read: {error}"))
    }

    /// The whole of an answer.
    pub(crate) async fn text(
        &self,
        mut answer: Response,
        attempt: impl Fn() -> String,
    ) -> Result<String, Error> {
        let mut all = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if all.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                    all.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(self.unreadable(attempt(), "it is too long")),
                Ok(None) => break,
                Err(error) => return Err(self.error(Kind::Passing, &attempt(), &words(&error))),
            }
        }
        String::from_utf8(all).map_err(|error| self.unreadable(attempt(), error))
    }

    /// Sends a request until the store has answered it with success, or with what does not pass.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        body: Vec<u8>,
        attempt: impl Fn() -> String,
    ) -> Result<Response, Error> {
        // Repeated without a copy.
        let body = Bytes::from(body);
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let request = self.client.request(method.clone(), url).body(body.clone());
            let error = match request.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => self.refusal(answer, &attempt()).await,
                Err(error) => self.error(Kind::Passing, &attempt(), &words(&error)),
            };
            if error.kind != Kind::Passing || Instant::now() + pause > until {
                return Err(error);
            }
            tracing::warn!(%error, "the object store is asked again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn refusal(&self, answer: Response, attempt: &str) -> Error {
        let status = answer.status();
        // Only for the message.
        let text = self.text(answer, String::new).await.unwrap_or_default();
        self.judged(status, &text, attempt)
    }

    /// The error in an answer's text.
    pub(crate) fn judged(&self, status: StatusCode, text: &str, attempt: &str) -> Error {
        let code = element(text, "Code").unwrap_or_default();
        let said = element(text, "Message").unwrap_or_default();
        let why = match (code, said) {
            ("", _) => format!("it answered with status {}", status.as_u16()),
            (code, "") => format!("it answered with {code}"),
            (code, said) => format!("it answered with {code}: {said}"),
        };
        self.error(kind_of(status, code), attempt, &why)
    }

    fn error(&self, kind: Kind, attempt: &str, why: &str) -> Error {
        let url = self.bucket.base_url();
        let mut place = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        if let Some(port) = url.port() {
            place.push_str(&format!(":{port}"));
        }
        let name = self.bucket.name();
        let (attempt, why) = (attempt.trim_end(), why.trim_end_matches('.'));
        let advice = match kind {
            Kind::NoBucket => format!("; create bucket `{name}`, or name another"),
            Kind::Login => format!(
                "; key `{}` and its secret must be the store's: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                 or the file of credentials",
                self.credentials.key()
            ),
            Kind::Forbidden => format!(
                "; allow key `{}` to list bucket `{name}` and to get, put and delete its objects",
                self.credentials.key()
            ),
            Kind::Passing | Kind::Missing | Kind::Other => String::new(),
        };
        Error {
            kind,
            attempt: format!("{attempt} of bucket `{name}` in the object store at {place}"),
            why: format!("{why}{advice}"),
        }
    }
}

/// The answer about an object that may not be there.
fn found(answer: Result<Response, Error>) -> Result<Option<Response>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind == Kind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// An error of the connection with its causes, without the address, which carries a signature.
fn words(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    if text.is_empty() { "it does not answer".to_owned() } else { text }
}

fn client(trust: Option<&str>) -> Result<Client, String> {
    // The first caller in a process decides; all of this product's code uses the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("jetbridge/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        // A signature is good for one host.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = trust {
        let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        builder = builder.tls_certs_only(certificates.map_err(|error| error.to_string())?);
    }
    let without_system = || Client::builder().tls_certs_only([]).build();
    // Without any system certificate the first fails; plain HTTP still works then.
    builder.build().or_else(|_| without_system()).map_err(|error| error.to_string())
}
