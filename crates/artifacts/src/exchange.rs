//! What the server and the program say to each other where volumes lie in an object store.
//!
//! JSON, one value a line. The program gets addresses that are good for one object, one way and a time; it has no
//! key to the store. What is uploaded in parts becomes an object when the server says so, which it does once it was
//! told that all parts are there.

use serde::{Deserialize, Serialize};

/// Bytes of every part of an upload but the last, and what an upload takes of memory. Stores take 5 MiB and more.
pub const PART_BYTES: usize = 16 << 20;
/// Parts that stores take.
pub const PARTS_MAX: u16 = 10_000;
/// The longest line.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What [`crate::command::Command::Fetch`] reads from its stdin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub volumes: Vec<Fetched>,
    /// Archives that stay as they are: the target is a file.
    pub files: Vec<Fetched>,
    /// Certificates to trust, in PEM form; those of public authorities when there are none.
    pub trust: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Its handle, for messages.
    pub volume: String,
    pub target: String,
    pub origin: Origin,
}

/// Where a volume is to be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Url(String),
    /// An image that lies elsewhere, as [`crate::Volumes::put_image`] was given it.
    Image(String),
}

/// The first line that [`crate::command::Command::Store`] reads. A [`Place`] follows for each [`Said::Want`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Volumes, and the directories whose contents they become.
    pub volumes: Vec<(String, String)>,
    pub trust: Option<String>,
}

/// What [`crate::command::Command::Store`] writes to its stdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Part 0 is the whole archive; others are counted from 1. Part 1 begins an upload and names none.
    Want { volume: String, part: u16, upload: Option<String> },
    /// All parts of a volume are there. Without an upload it is whole.
    Stored { volume: String, upload: Option<Upload> },
}

/// A finished upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub id: String,
    /// What the store called each part.
    pub tags: Vec<String>,
}

/// Where a part goes. The first answer to a question counts: a server that began anew gives another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub volume: String,
    pub part: u16,
    pub upload: Option<String>,
    pub url: String,
}

/// A value as a line.
pub fn line<T: Serialize>(value: &T) -> Vec<u8> {
    // Strings and numbers always have a JSON form.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
