//! `/proc/self/mountinfo`, the parts that matter here.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// The directory of the file system that is mounted.
    pub(crate) root: String,
    pub(crate) target: PathBuf,
    /// File system type, such as `ext4`.
    pub(crate) kind: String,
    pub(crate) super_options: String,
}

pub(crate) fn read() -> io::Result<Vec<MountPoint>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

pub(crate) fn parse(text: &[u8]) -> Vec<MountPoint> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let target = unescape(fields.next()?);
    // Optional fields end with a single dash.
    fields.find(|field| *field == b"-")?;
    let kind = unescape(fields.next()?);
    let super_options = unescape(fields.nth(1)?);
    Some(MountPoint {
        root: String::from_utf8_lossy(&root).into_owned(),
        target: PathBuf::from(OsString::from_vec(target)),
        kind: String::from_utf8_lossy(&kind).into_owned(),
        super_options: String::from_utf8_lossy(&super_options).into_owned(),
    })
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(value) = octal {
            plain.push(value);
            rest = &tail[3..];
        } else {
            plain.push(byte);
            rest = tail;
        }
    }
    plain
}

#[cfg(test)]
mod tests;
