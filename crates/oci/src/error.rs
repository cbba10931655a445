//! What can go wrong between us and a registry.

use crate::digest::Digest;

/// A failed exchange with a registry. Every message names what was attempted and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid setting for the registry {registry}: {reason}")]
    Settings { registry: String, reason: String },
    /// The registry could not be reached, or the connection broke, as often as was tried.
    #[error("failed to {attempted}: {cause}")]
    Transport { attempted: String, cause: Cause },
    #[error("failed to {attempted}: not found")]
    NotFound { attempted: String },
    #[error("failed to {attempted}: the registry denied access ({detail})")]
    Denied { attempted: String, detail: String },
    #[error("failed to {attempted}: the registry answered {status}: {detail}")]
    Refused { attempted: String, status: u16, detail: String },
    #[error("failed to {attempted}: {reason}")]
    Invalid { attempted: String, reason: String },
    #[error("failed to {attempted}: its content has digest {found}, not {wanted}")]
    WrongDigest { attempted: String, wanted: Digest, found: Digest },
    #[error("failed to {attempted}: it is larger than {limit} bytes")]
    TooLarge { attempted: String, limit: u64 },
    #[error("no image for {platform} in {image}: it has {available}")]
    NoPlatform { image: String, platform: String, available: String },
    #[error("failed to {attempted}: {cause}")]
    File { attempted: String, cause: std::io::Error },
}

/// An HTTP error with the causes that its own message leaves out.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    text: String,
}

impl Cause {
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        // reqwest's own words repeat the address, which may carry the token of a storage redirect.
        let mut text = if error.is_timeout() {
            "timed out".to_owned()
        } else if error.is_connect() {
            "could not connect".to_owned()
        } else {
            "the exchange broke off".to_owned()
        };
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) && !cause_text.contains("://") {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        Self { text }
    }
}

impl From<reqwest::Error> for Cause {
    fn from(error: reqwest::Error) -> Self {
        Self::of(&error)
    }
}
