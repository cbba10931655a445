//! Small signed messages that travel through a browser and come back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jb_model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// Signs a message for one purpose: what is signed for another is not accepted.
pub(crate) fn seal(key: &[u8], purpose: &str, at: Timestamp, message: &impl Serialize) -> String {
    let body = serde_json::to_vec(&(at.unix_seconds(), message)).unwrap_or_default();
    let tag = mac(key, purpose, &body).finalize().into_bytes();
    format!("{}.{}", URL_SAFE_NO_PAD.encode(&body), URL_SAFE_NO_PAD.encode(tag))
}

/// The message, if it was signed with the key for this purpose at most `max_age_s` seconds ago.
pub(crate) fn open<T: DeserializeOwned>(
    key: &[u8],
    purpose: &str,
    now: Timestamp,
    max_age_s: i64,
    sealed: &str,
) -> Option<T> {
    let (body, tag) = sealed.split_once('.')?;
    let body = URL_SAFE_NO_PAD.decode(body).ok()?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    mac(key, purpose, &body).verify_slice(&tag).ok()?;
    let (at, message): (i64, T) = serde_json::from_slice(&body).ok()?;
    (now.unix_seconds().saturating_sub(at) <= max_age_s).then_some(message)
}

fn mac(key: &[u8], purpose: &str, body: &[u8]) -> Hmac<Sha256> {
    // A key of any length fits; the fallback is never taken.
    let mut mac =
        <Hmac<Sha256>>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(purpose.as_bytes());
    mac.update(b"\0");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_comes_back() {
        let at = Timestamp::from_unix_seconds(1000);
        let sealed = seal(b"key", "state", at, &"hello");
        let open = |key: &[u8], purpose, now, text: &str| {
            super::open::<String>(key, purpose, Timestamp::from_unix_seconds(now), 60, text)
        };
        assert_eq!(open(b"key", "state", 1060, &sealed).as_deref(), Some("hello"));
        assert_eq!(open(b"key", "state", 1061, &sealed), None);
        assert_eq!(open(b"key", "code", 1000, &sealed), None);
        assert_eq!(open(b"other", "state", 1000, &sealed), None);
        assert_eq!(open(b"key", "state", 1000, &sealed[1..]), None);
        assert_eq!(open(b"key", "state", 1000, ""), None);
    }
}
