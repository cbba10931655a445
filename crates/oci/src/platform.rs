//! Which machine an image is for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::{Descriptor, Index};

/// Operating system and processor, in Go's names (`linux`, `amd64`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self::new("linux", architecture)
    }

    /// `architecture` may carry a variant: `arm64/v8`.
    pub fn new(os: &str, architecture: &str) -> Self {
        let (architecture, variant) = match architecture.split_once('/') {
            Some((architecture, variant)) => (architecture, Some(variant.to_owned())),
            None => (architecture, None),
        };
        Self { architecture: architecture.to_owned(), os: os.to_owned(), variant }
    }

    /// Whether an image for `other` is what was asked for; an unnamed variant takes any.
    fn accepts(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && self.variant.as_ref().is_none_or(|variant| other.variant.as_ref() == Some(variant))
    }

    /// The first image of an index that is for this platform. An index whose only image names no platform means it.
    pub fn choose<'a>(&self, index: &'a Index) -> Option<&'a Descriptor> {
        let matching = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_some_and(|platform| self.accepts(platform))
        };
        index.manifests.iter().find(matching).or_else(|| match index.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
