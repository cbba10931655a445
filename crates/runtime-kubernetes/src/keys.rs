//! Keys to the ports of runners. Nobody but the server that made a pod has its key.

use std::fmt::Write as _;
use std::io;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jb_runner_protocol::KEY_BYTES;
use sha2::{Digest as _, Sha256};

pub(crate) type Key = [u8; KEY_BYTES];
/// As long as what the digest works on at a time.
pub(crate) type Secret = [u8; 64];

/// Makes each pod's key from its name and a secret that ends with this server.
pub(crate) struct Keys {
    secret: Secret,
}

impl Keys {
    pub(crate) fn new(secret: Secret) -> Self {
        Self { secret }
    }

    /// Of a secret that nobody has had before.
    pub(crate) fn fresh() -> io::Result<Self> {
        let mut secret = [0; 64];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::new(secret))
    }

    pub(crate) fn of(&self, pod: &str) -> Key {
        let mac = Hmac::<Sha256>::new(&self.secret.into()).chain_update(pod);
        mac.finalize().into_bytes().into()
    }
}

/// What a pod's spec says of its key: nobody finds the key by it.
pub(crate) fn lock(key: &Key) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(key) {
        // Strings take everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_and_each_server_has_its_own() {
        let (one, other) = (Keys::new([1; 64]), Keys::new([2; 64]));
        assert_eq!(one.of("a"), one.of("a"));
        assert_ne!(one.of("a"), one.of("b"));
        assert_ne!(one.of("a"), other.of("a"));
        assert_ne!(lock(&one.of("a")), lock(&one.of("b")));
    }
}
