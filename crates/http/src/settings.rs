//! What the server's operator decides about the HTTP edge.

use std::time::Duration;

use jb_authz::{Role, RoleOverrides};
use jb_model::Timestamp;

/// The version that clients compare themselves with: `fly` refuses another major or minor one.
pub const VERSION: &str = "8.2.5";
/// The version of the worker protocol that [`VERSION`] speaks.
pub const WORKER_VERSION: &str = "3.0";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where browsers and `fly` reach the server, without a slash at the end.
    pub external_url: String,
    pub cluster_name: String,
    pub local_users: Vec<LocalUser>,
    /// How long a login lasts.
    pub auth_duration: Duration,
    /// Cookies only over HTTPS.
    pub cookie_secure: bool,
    /// Signs the state of a login that is under way. The same on every server of an installation; when
    /// empty, every server makes its own at its start.
    pub signing_key: Vec<u8>,
    pub role_overrides: RoleOverrides,
    /// The least role on a team of who brings in agents that have the network of tasks.
    pub agent_full_network_role: Role,
    /// `global_resources`, `cache_streamed_volumes`, `build_rerun` and `resource_causality`.
    pub features: Features,
    pub x_frame_options: String,
    pub content_security_policy: String,
    /// Value of `Strict-Transport-Security`; empty for none.
    pub strict_transport_security: String,
    /// Sent with every response.
    pub custom_headers: Vec<(String, String)>,
    /// How long a hijacked process may go without input before its session ends.
    pub intercept_idle_timeout: Option<Duration>,
    /// How many requests for all jobs may run at once; `None` for any number, 0 for none at all.
    pub list_all_jobs_limit: Option<usize>,
    /// Counts requests.
    pub metrics: jb_metrics::Metrics,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    pub global_resources: bool,
    pub cache_streamed_volumes: bool,
    pub build_rerun: bool,
    pub resource_causality: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            external_url: "http://127.0.0.1:8080".to_owned(),
            cluster_name: String::new(),
            local_users: Vec::new(),
            auth_duration: Duration::from_secs(24 * 60 * 60),
            cookie_secure: false,
            signing_key: Vec::new(),
            role_overrides: RoleOverrides::default(),
            agent_full_network_role: Role::Owner,
            features: Features::default(),
            x_frame_options: "deny".to_owned(),
            content_security_policy: "frame-ancestors 'none'".to_owned(),
            strict_transport_security: String::new(),
            custom_headers: Vec::new(),
            intercept_idle_timeout: None,
            list_all_jobs_limit: None,
            metrics: jb_metrics::Metrics::default(),
        }
    }
}

/// A user whom the server itself knows.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalUser {
    pub name: String,
    pub password: Password,
}

impl std::fmt::Debug for LocalUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalUser").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    Plain(String),
    /// A bcrypt hash.
    Hashed(String),
}

impl LocalUser {
    /// Reads `name:password`, as `--add-local-user` has it; the password may be a bcrypt hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, password) = text
            .split_once(':')
            .filter(|(name, password)| !name.is_empty() && !password.is_empty())
            .ok_or("a local user is written as name:password")?;
        let hashed = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|p| password.starts_with(p));
        if !hashed {
            let password = Password::Plain(password.to_owned());
            return Ok(Self { name: name.to_owned(), password });
        }
        let cost: Option<u32> = password.split('$').nth(2).and_then(|cost| cost.parse().ok());
        match cost {
            Some(10..) => {
                let password = Password::Hashed(password.to_owned());
                Ok(Self { name: name.to_owned(), password })
            }
            _ => Err(format!("the bcrypt hash of local user {name} needs a cost of at least 10")),
        }
    }
}

/// Tells the time.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Fills buffers with unpredictable bytes.
pub trait Entropy: Send + Sync {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()>;
}

/// The operating system's clock and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::default().after(since.unwrap_or_default())
    }
}

impl Entropy for System {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(buffer).map_err(|error| std::io::Error::other(error.to_string()))
    }
}
