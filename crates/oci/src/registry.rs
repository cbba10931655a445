//! One registry over HTTP: login, retries, and the requests everything else is made of.

mod exchange;
mod pull;
mod push;
mod tags;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;
use url::Url;

use crate::auth::Challenge;
use crate::error::Error;
use crate::retry::RetryPolicy;

pub use pull::{Image, RawManifest};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that gives nothing for this long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Hears of retries.
pub type OnRetry = Arc<dyn Fn(&str) + Send + Sync>;

/// How a registry is reached.
#[derive(Clone, Default)]
pub struct Options {
    pub credentials: Option<Credentials>,
    /// Fall back to plain HTTP when the registry does not speak TLS. Loopback addresses always may.
    pub insecure: bool,
    /// Certificates (PEM) trusted besides the system's.
    pub ca_certs: Vec<String>,
    pub retry: RetryPolicy,
    /// Told about every retry, in a sentence for people.
    pub on_retry: Option<OnRetry>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credentials, insecure, retry, .. } = self;
        f.debug_struct("Options")
            .field("credentials", credentials)
            .field("insecure", insecure)
            .field("retry", retry)
            .finish_non_exhaustive()
    }
}

/// A login; its password is not shown in debug output.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A connected registry; clones share the connection pool and tokens.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    /// As in image names, for messages.
    name: String,
    base: Url,
    challenge: Option<Challenge>,
    options: Options,
    /// Bearer tokens by scope.
    tokens: Mutex<BTreeMap<String, String>>,
}

impl Registry {
    /// Finds out how the registry `host[:port]` is spoken to.
    pub async fn connect(host: &str, options: Options) -> Result<Self, Error> {
        let settings = |reason: String| Error::Settings { registry: host.to_owned(), reason };
        let http = client(&options).map_err(settings)?;
        // Docker Hub's images are not served under the name they are known by.
        let address = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{address}/v2/"))
                .map_err(|error| settings(error.to_string()))
        };
        let secure = url("https")?;
        let may_be_plain = options.insecure || is_loopback(&secure);
        let mut shared = Shared {
            http,
            name: host.to_owned(),
            base: secure,
            challenge: None,
            options,
            tokens: Mutex::default(),
        };
        if may_be_plain && shared.http.get(shared.base.clone()).send().await.is_err() {
            shared.base = url("http")?;
        }
        let registry = Self { shared: Arc::new(shared) };
        let response = registry.ping().await?;
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge =
            headers.iter().filter_map(|header| header.to_str().ok()).find_map(Challenge::parse);
        let Some(mut shared) = Arc::into_inner(registry.shared) else {
            return Err(settings("used while connecting".to_owned()));
        };
        shared.challenge = challenge;
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The login for requests about one repository, or a new one after the last was refused.
    async fn authorization(&self, scope: &str, renew: bool) -> Result<Option<String>, Error> {
        let credentials = self.shared.options.credentials.as_ref();
        match (&self.shared.challenge, credentials) {
            (None, _) | (Some(Challenge::Basic), None) => Ok(None),
            (Some(Challenge::Basic), Some(login)) => Ok(Some(basic(login))),
            (Some(Challenge::Bearer { realm, service }), _) => {
                let cached = || self.lock_tokens().get(scope).cloned();
                if let (false, Some(token)) = (renew, cached()) {
                    return Ok(Some(token));
                }
                let token = self.token(realm, service.as_deref(), scope).await?;
                let header = format!("Bearer {token}");
                self.lock_tokens().insert(scope.to_owned(), header.clone());
                Ok(Some(header))
            }
        }
    }

    fn lock_tokens(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where something of a repository is.
    fn url(&self, repository: &str, rest: &str) -> Result<Url, Error> {
        let path = format!("{repository}/{rest}");
        self.shared.base.join(&path).map_err(|error| Error::Settings {
            registry: self.shared.name.clone(),
            reason: format!("{path:?} cannot be asked for: {error}"),
        })
    }
}

fn basic(login: &Credentials) -> String {
    use base64::Engine as _;
    let pair = format!("{}:{}", login.username, login.password);
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn client(options: &Options) -> Result<reqwest::Client, String> {
    // The first caller in a process decides; all of this product's code uses the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut certs = Vec::new();
    for pem in &options.ca_certs {
        let bundle = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        let bundle = bundle.map_err(|error| format!("a CA certificate cannot be read: {error}"))?;
        if bundle.is_empty() {
            return Err("a CA certificate is not in PEM form".to_owned());
        }
        certs.extend(bundle);
    }
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("jetbridge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::custom(follow))
    };
    // Without any system certificate the first fails; plain HTTP and given certificates still work then.
    builder()
        .tls_certs_merge(certs.clone())
        .build()
        .or_else(|_| builder().tls_certs_only(certs).build())
        .map_err(|error| error.to_string())
}

/// Follows storage redirects, but never from TLS to plain HTTP. (reqwest takes the login off on another host.)
fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let downgraded = attempt.previous().last().is_some_and(|from| from.scheme() == "https")
        && attempt.url().scheme() != "https";
    if downgraded {
        attempt.error("redirected from https to plain http")
    } else if attempt.previous().len() > 10 {
        attempt.error("redirected too often")
    } else {
        attempt.follow()
    }
}
