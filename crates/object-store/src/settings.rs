//! Which store, which bucket, and as whom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

/// A key and its secret. Debug output names only the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub key: String,
    pub secret: String,
    /// For keys that last for a time.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Settings of an [`crate::ObjectStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub bucket: String,
    /// What all keys begin with: empty, or ends with `/`.
    pub prefix: String,
    /// Where the store is. Without it, Amazon's of the region.
    pub endpoint: Option<String>,
    pub region: String,
    pub credentials: Credentials,
    /// Certificates to trust in place of the system's, in PEM form.
    pub trust: Option<String>,
}

/// What is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("`{0}` is not of the form s3://bucket or s3://bucket/prefix")]
    Location(String),
    #[error("the endpoint `{0}` is not an address that begins with http:// or https://")]
    Endpoint(String),
    #[error("the certificates to trust cannot be read: {0}")]
    Trust(String),
    #[error("no `{0}` in the file of credentials, which has lines such as `{0} = …`")]
    Credentials(&'static str),
}

impl Settings {
    /// Reads `s3://bucket/prefix`.
    pub fn location(text: &str) -> Result<(String, String), SettingsError> {
        let wrong = || SettingsError::Location(text.to_owned());
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || !bucket.chars().all(allowed) || prefix.contains("//") {
            return Err(wrong());
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok((bucket.to_owned(), prefix))
    }
}

impl Settings {
    /// The endpoint's address and port, if it is named by its address.
    pub fn endpoint_address(&self) -> Option<SocketAddr> {
        let url: Url = self.endpoint.as_ref()?.parse().ok()?;
        let address: IpAddr = match url.host()? {
            Host::Ipv4(address) => address.into(),
            Host::Ipv6(address) => address.into(),
            Host::Domain(_) => return None,
        };
        Some(SocketAddr::new(address, url.port_or_known_default()?))
    }
}

impl Credentials {
    /// Reads a file as other tools have it, `~/.aws/credentials`: the profile `default`, or the only one.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let mut is_default = true;
        let (mut key, mut secret, mut token) = (None, None, None);
        for line in text.lines().map(str::trim) {
            if let Some(profile) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                is_default = profile.trim() == "default";
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_default) else { continue };
            let value = Some(value.trim().to_owned());
            match name.trim() {
                "aws_access_key_id" => key = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
        Ok(Self {
            key: key.ok_or(SettingsError::Credentials("aws_access_key_id"))?,
            secret: secret.ok_or(SettingsError::Credentials("aws_secret_access_key"))?,
            token,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn locations_are_a_bucket_and_a_prefix() {
        let read = |text| Settings::location(text).unwrap();
        assert_eq!(read("s3://b"), ("b".to_owned(), String::new()));
        assert_eq!(read("s3://b/"), ("b".to_owned(), String::new()));
        assert_eq!(read("s3://my-b.x/ci/one/"), ("my-b.x".to_owned(), "ci/one/".to_owned()));
        for wrong in ["b", "s3://", "s3:///x", "s3://a b", "https://b", "s3://b/a//c"] {
            assert!(Settings::location(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_of_the_default_profile() {
        let text = "[other]\naws_access_key_id = x\n[default]\naws_access_key_id=k\n aws_secret_access_key = s= \n";
        let credentials = Credentials::parse(text).unwrap();
        assert_eq!((credentials.key.as_str(), credentials.secret.as_str()), ("k", "s="));
        assert_eq!(credentials.token, None);
        assert!(!format!("{credentials:?}").contains("s="));
        assert!(Credentials::parse("aws_access_key_id=k").is_err());
    }
}
