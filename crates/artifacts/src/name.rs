//! File names of volumes.

use crate::volumes::Kind;

/// File systems allow 255 bytes; endings and temporary names need some.
const NAME_BYTES_MAX: usize = 200;

/// A handle as a file name that no other handle has; `None` when it would be too long. What is neither letter,
/// digit, `-` nor `_` is written as `%` with its hexadecimal number, so that no name begins with a dot.
pub(crate) fn encode(handle: &str) -> Option<String> {
    let mut name = String::with_capacity(handle.len());
    for byte in handle.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then_some(name)
}

/// The handle of a file name; `None` for names that [`encode`] does not make.
pub(crate) fn decode(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(first);
        }
    }
    let handle = String::from_utf8(bytes).ok()?;
    (encode(&handle).as_deref() == Some(name)).then_some(handle)
}

/// The name of the file or object that a volume is kept as; `None` when its handle is too long for one.
pub fn file_name(handle: &str, kind: Kind) -> Option<String> {
    encode(handle).map(|name| format!("{name}{}", kind.ending()))
}

/// The handle of the volume that is kept under a name.
pub fn handle_of_file(file: &str) -> Option<String> {
    let endings = [Kind::Archive, Kind::Image].map(Kind::ending);
    decode(endings.into_iter().find_map(|ending| file.strip_suffix(ending))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_lead_back_to_their_handles() {
        for handle in ["b12-get-3-v", "cache-1-ab", "../../etc", ".", "a/b c", "ü", "%", "A_b"] {
            let name = encode(handle).unwrap();
            assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
            assert_eq!(decode(&name).as_deref(), Some(handle));
        }
        assert_eq!(encode(""), None);
        assert_eq!(encode(&"x".repeat(300)), None);
        for foreign in ["lost+found", ".nfs0001", "a%2", "a%zz", "%61"] {
            assert_eq!(decode(foreign), None, "{foreign}");
        }
    }
}
