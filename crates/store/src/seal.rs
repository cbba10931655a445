//! Sealing of stored JSON with AES-256-GCM.
//!
//! A sealed text is `sealed:<key id>:<base64 of nonce and ciphertext>`; JSON never starts like that, so plain and
//! sealed texts stand side by side while keys change. The column's name is authenticated with the text.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use crate::store::EncryptionKey;
use crate::{Error, Result};

const PREFIX: &str = "sealed:";
const NONCE_BYTES: usize = 12;
/// Shorter texts are refused as keys.
const MIN_KEY_BYTES: usize = 16;

impl EncryptionKey {
    /// Makes a key of a text of at least 16 bytes.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() < MIN_KEY_BYTES {
            return Err(Error::BadEncryptionKey {
                reason: format!("it has {} bytes, give 16 or more", text.len()),
            });
        }
        Ok(Self(digest(&[b"jetbridge store key", text.as_bytes()])))
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 of a text, as lower-case hex.
pub(crate) fn hex_digest(text: &str) -> String {
    hex(&digest(&[text.as_bytes()]))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// One key, ready to use.
struct Cipher {
    /// Tells keys apart without revealing them.
    id: String,
    aead: Aes256Gcm,
}

impl Cipher {
    fn new(key: &EncryptionKey) -> Self {
        let id = digest(&[b"jetbridge key id", &key.0]);
        Self { id: hex(&id[..4]), aead: Aes256Gcm::new(&key.0.into()) }
    }

    fn seal(&self, column: &'static str, text: &str) -> Result<String> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| Error::BadEncryptionKey {
            reason: format!("no random nonce: {error}"),
        })?;
        let payload = Payload { msg: text.as_bytes(), aad: column.as_bytes() };
        let body = self.aead.encrypt(&Nonce::from(nonce), payload).map_err(|_| Error::Stored {
            what: column,
            reason: "the text is too long to be sealed".into(),
        })?;
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(&body);
        Ok(format!("{PREFIX}{}:{}", self.id, STANDARD_NO_PAD.encode(sealed)))
    }

    fn open(&self, column: &'static str, body: &str) -> Result<String> {
        let broken = |reason: &str| Error::Stored { what: column, reason: reason.into() };
        let bytes = STANDARD_NO_PAD.decode(body).map_err(|_| broken("sealed text is no base64"))?;
        let (nonce, body) =
            bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(|| broken("sealed text is cut"))?;
        let payload = Payload { msg: body, aad: column.as_bytes() };
        let text = self
            .aead
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| broken("sealed text was altered"))?;
        String::from_utf8(text).map_err(|_| broken("sealed text is no UTF-8"))
    }
}

/// The keys a store works with.
pub(crate) struct Seal {
    current: Option<Cipher>,
    old: Option<Cipher>,
}

impl Seal {
    pub(crate) fn new(current: Option<&EncryptionKey>, old: Option<&EncryptionKey>) -> Self {
        Self { current: current.map(Cipher::new), old: old.map(Cipher::new) }
    }

    /// What is to be stored for a text.
    pub(crate) fn seal(&self, column: &'static str, text: String) -> Result<String> {
        match &self.current {
            Some(cipher) => cipher.seal(column, &text),
            None => Ok(text),
        }
    }

    /// The text that was stored, whichever known key sealed it.
    pub(crate) fn open(&self, column: &'static str, stored: String) -> Result<String> {
        let Some(sealed) = stored.strip_prefix(PREFIX) else { return Ok(stored) };
        let (id, body) = sealed.split_once(':').ok_or_else(|| Error::Stored {
            what: column,
            reason: "sealed text has no key id".into(),
        })?;
        let known = [&self.current, &self.old].into_iter().flatten().find(|c| c.id == id);
        match known {
            Some(cipher) => cipher.open(column, body),
            None if self.current.is_none() && self.old.is_none() => {
                Err(Error::MissingEncryptionKey)
            }
            None => Err(Error::WrongEncryptionKey),
        }
    }

    /// Whether a stored text is not as [`Seal::seal`] would store it now.
    pub(crate) fn is_stale(&self, stored: &str) -> bool {
        match &self.current {
            Some(cipher) => {
                let sealed = stored.strip_prefix(PREFIX).and_then(|sealed| sealed.split_once(':'));
                sealed.is_none_or(|(id, _)| id != cipher.id)
            }
            None => stored.starts_with(PREFIX),
        }
    }
}

#[cfg(test)]
mod tests;
