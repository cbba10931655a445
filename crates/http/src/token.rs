//! Access tokens: opaque to clients but for the time in their tail.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jb_model::Timestamp;

const RANDOM: usize = 20;
const LENGTH: usize = RANDOM + 8;

/// A token as it is sent: 20 unpredictable bytes and the expiry in seconds as a little-endian number.
pub(crate) fn render(random: [u8; RANDOM], expires_at: Timestamp) -> String {
    let mut bytes = [0; LENGTH];
    bytes[..RANDOM].copy_from_slice(&random);
    bytes[RANDOM..].copy_from_slice(&expires_at.unix_seconds().max(0).to_le_bytes());
    STANDARD_NO_PAD.encode(bytes)
}

/// When a token expires, according to itself.
pub(crate) fn expiry(token: &str) -> Option<Timestamp> {
    let bytes = STANDARD_NO_PAD.decode(token).ok()?;
    let tail: [u8; 8] = bytes.get(RANDOM..)?.try_into().ok()?;
    let seconds = i64::from_le_bytes(tail);
    (0..=i64::MAX / 1_000_000).contains(&seconds).then(|| Timestamp::from_unix_seconds(seconds))
}

/// Splits `type value`; the type of a token that can be used is `bearer`, in any case.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (kind, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (kind.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' '))
        .then_some(token)
}

/// How Dex names a user of a connector: a protobuf message with both, in base64.
pub(crate) fn subject(user_id: &str, connector: &str) -> String {
    let mut message = Vec::new();
    for (field, text) in [(1_u8, user_id), (2, connector)] {
        message.push(field << 3 | 2);
        let mut length = text.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(text.as_bytes());
    }
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_token_tells_when_it_expires() {
        let at = Timestamp::from_unix_seconds(1_795_314_377);
        let token = render([7; RANDOM], at);
        assert_eq!(token.len(), 38);
        assert!(!token.contains('='));
        assert_eq!(expiry(&token), Some(at));
        assert_eq!(expiry("c2hvcnQ"), None);
        assert_eq!(expiry("not base64!"), None);
        assert_eq!(expiry(&STANDARD_NO_PAD.encode([0xff; LENGTH])), None);
    }

    #[test]
    fn only_bearer_tokens_count() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("bearer"), None);
        assert_eq!(bearer("bearer a b"), None);
    }

    #[test]
    fn subjects_are_those_of_dex() {
        assert_eq!(subject("test", "local"), "CgR0ZXN0EgVsb2NhbA");
    }
}
