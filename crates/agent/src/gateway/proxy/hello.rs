//! What TLS connections begin with, read as it passes. Pure.
//!
//! A client names the host it wants in its first message, before anything is encrypted. It may be asked to begin again, and
//! then names it again.

/// The longest beginning of a connection.
pub(super) const HELLO_BYTES_MAX: usize = 16 << 10;
/// How much of a server's first words shows whether it asks to begin again.
const SERVER_BYTES: usize = RECORD_HEADER + 4 + 2 + RETRY.len();

const RECORD_HEADER: usize = 5;
/// Kinds of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// Kinds of messages.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Extensions.
const SERVER_NAME: u16 = 0;
/// Encrypted names of hosts: the standard's, and drafts of it.
const ENCRYPTED: [u16; 7] = [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xffce];
/// The random number of a server that asks its client to begin again (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// The first message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// The host it wants, as it is written.
    pub(super) name: String,
    /// How many of the bytes are its records.
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HelloError {
    NotTls,
    TooLong,
    Malformed,
    NoName,
    Encrypted,
}

impl std::fmt::Display for HelloError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotTls => "the connection does not begin with TLS: use https",
            Self::TooLong => "the connection's TLS has a first message that is too long",
            Self::Malformed => "the connection's TLS has a first message that is malformed",
            Self::NoName => "the connection's TLS does not name its host: send the server name (SNI)",
            Self::Encrypted => {
                "the connection's TLS encrypts the name of its host: switch Encrypted Client Hello off"
            }
        })
    }
}

impl HelloError {
    /// What the client is told of it, in the words of TLS.
    pub(super) const fn alert(self) -> [u8; 7] {
        const DECODE_ERROR: u8 = 50;
        const ACCESS_DENIED: u8 = 49;
        const MISSING_EXTENSION: u8 = 109;
        alert(match self {
            Self::NotTls | Self::TooLong | Self::Malformed => DECODE_ERROR,
            Self::NoName => MISSING_EXTENSION,
            Self::Encrypted => ACCESS_DENIED,
        })
    }
}

/// That the name is another one than was asked for.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = alert(112);

const fn alert(description: u8) -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    [ALERT, 3, 3, 0, 2, FATAL, description]
}

/// Reads what a client said first, as far as it came; none while there is more to come. One that was asked to begin `again`
/// may send other records before.
pub(super) fn read(bytes: &[u8], again: bool) -> Result<Option<Hello>, HelloError> {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        let Some(header) = bytes.get(at..at + RECORD_HEADER) else {
            // Whoever speaks another protocol may wait for an answer before there are more bytes.
            return match bytes.get(at) {
                Some(&kind) if !is_record(kind, again && message.is_empty()) => {
                    Err(HelloError::NotTls)
                }
                _ => more(bytes),
            };
        };
        let (kind, major) = (header[0], header[1]);
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if major != 3 || !is_record(kind, again && message.is_empty()) {
            return Err(HelloError::NotTls);
        }
        if length == 0 {
            return Err(HelloError::Malformed);
        }
        let Some(content) = bytes.get(at + RECORD_HEADER..at + RECORD_HEADER + length) else {
            return if at + RECORD_HEADER + length > HELLO_BYTES_MAX {
                Err(HelloError::TooLong)
            } else {
                more(bytes)
            };
        };
        at += RECORD_HEADER + length;
        if kind != HANDSHAKE {
            continue;
        }
        message.extend_from_slice(content);
        if message[0] != CLIENT_HELLO {
            return Err(HelloError::NotTls);
        }
        let Some(&[_, high, middle, low]) = message.first_chunk() else { continue };
        let length =
            4 + usize::from(high) * 0x1_0000 + usize::from(middle) * 0x100 + usize::from(low);
        if length > HELLO_BYTES_MAX {
            return Err(HelloError::TooLong);
        }
        match message.len().cmp(&length) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                let name = name(&message[4..])?;
                return Ok(Some(Hello { name, bytes: at }));
            }
            // Nothing may follow it before the server has answered.
            std::cmp::Ordering::Greater => return Err(HelloError::Malformed),
        }
    }
}

fn more(bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
    if bytes.len() >= HELLO_BYTES_MAX { Err(HelloError::TooLong) } else { Ok(None) }
}

fn is_record(kind: u8, again: bool) -> bool {
    kind == HANDSHAKE || again && [CHANGE_CIPHER_SPEC, APPLICATION_DATA].contains(&kind)
}

/// Whether more of a server's first words is needed to see what they are: all of its first record, which its client must
/// have, too, before it says more.
pub(super) fn is_cut_off(bytes: &[u8]) -> bool {
    match bytes {
        [HANDSHAKE, _, _, high, low, rest @ ..] => {
            rest.len() < usize::from(u16::from_be_bytes([*high, *low]))
        }
        [] | [HANDSHAKE, ..] => true,
        _ => false,
    }
}

/// Whether a server's first words ask the client to begin again.
pub(super) fn is_retry(bytes: &[u8]) -> bool {
    bytes.first() == Some(&HANDSHAKE)
        && bytes.get(RECORD_HEADER) == Some(&SERVER_HELLO)
        && bytes.get(RECORD_HEADER + 6..SERVER_BYTES) == Some(&RETRY[..])
}

/// The name in a client's first message.
fn name(message: &[u8]) -> Result<String, HelloError> {
    find(message).ok_or(HelloError::Malformed)?
}

/// None where the message is malformed.
fn find(message: &[u8]) -> Option<Result<String, HelloError>> {
    let mut rest = Bytes(message);
    rest.take(2 + 32)?;
    let _session = rest.short()?;
    let _ciphers = rest.long()?;
    let _compressions = rest.short()?;
    if rest.0.is_empty() {
        return Some(Err(HelloError::NoName));
    }
    let mut extensions = Bytes(rest.long()?);
    if !rest.0.is_empty() {
        return None;
    }
    let (mut found, mut encrypted) = (None, false);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.long()?;
        encrypted |= ENCRYPTED.contains(&kind);
        if kind == SERVER_NAME && found.replace(host(content)?).is_some() {
            return None;
        }
    }
    Some(if encrypted { Err(HelloError::Encrypted) } else { found.ok_or(HelloError::NoName) })
}

/// The one name in the extension for it.
fn host(content: &[u8]) -> Option<String> {
    let mut content = Bytes(content);
    let mut list = Bytes(content.long()?);
    let kind = list.take(1)?;
    let name = list.long()?;
    let is_one = kind == [0] && list.0.is_empty() && content.0.is_empty();
    let name = std::str::from_utf8(name).ok().filter(|name| is_one && name.is_ascii())?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// What is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let taken = self.take(2)?;
        Some(u16::from_be_bytes([taken[0], taken[1]]))
    }

    /// What has its length in one byte before it.
    fn short(&mut self) -> Option<&'a [u8]> {
        let count = usize::from(self.take(1)?[0]);
        self.take(count)
    }

    /// What has its length in two bytes before it.
    fn long(&mut self) -> Option<&'a [u8]> {
        let count = usize::from(self.number()?);
        self.take(count)
    }
}

#[cfg(test)]
mod tests;
