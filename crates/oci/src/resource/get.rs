//! What a `get` of an image asks for, and what it answers.

use std::collections::BTreeMap;

use jb_model::script::Fields;
use regex::Regex;
use serde_json::json;

use super::source::{Invalid, Source, platform};
use crate::digest::Digest;
use crate::image::ImageConfig;
use crate::platform::Platform;
use crate::registry::Image;

const PARAMS: &[&str] = &["format", "platform", "skip_download"];

/// In which form an image is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unpacked, to run containers of it.
    Rootfs,
    /// One file as `docker save` writes it.
    Oci,
    /// Everything the digest stands for.
    OciLayout,
}

/// One image at one digest, in the format a step wants.
#[derive(Debug)]
pub struct GetRequest {
    pub digest: Digest,
    /// May be empty.
    pub tag: String,
    pub format: Format,
    pub platform: Platform,
    pub skip_download: bool,
}

impl GetRequest {
    pub fn parse(
        source: &Source,
        params: &Fields<'_>,
        version: &Fields<'_>,
    ) -> Result<Self, Invalid> {
        let digest = version.string("digest")?;
        let digest = digest.ok_or_else(|| Invalid::at("version.digest", "missing"))?;
        let digest =
            Digest::parse(&digest).map_err(|error| Invalid::at("version.digest", error))?;
        Ok(Self {
            digest,
            tag: version.text("tag")?.unwrap_or_default(),
            format: format(params)?,
            platform: source.platform(platform(&params.map("platform")?)?),
            skip_download: params.flag("skip_download", false)?,
        })
    }

    /// Keys of the params that mean nothing.
    pub fn unknown_params(params: &Fields<'_>) -> Vec<String> {
        params.unknown(PARAMS)
    }

    /// Small files that every fetched image comes with, whatever its format.
    pub fn files(&self, source: &Source) -> [(&'static str, String); 3] {
        [
            ("tag", self.tag.clone()),
            ("digest", self.digest.as_str().to_owned()),
            ("repository", source.repository.clone()),
        ]
    }

    /// What is shown of the image, as names and values. `image` is needed only for labels and annotations.
    pub fn metadata(&self, source: &Source, image: Option<&Image>) -> Vec<(String, String)> {
        let tag = if self.tag.is_empty() { "latest" } else { &self.tag };
        let mut fields = vec![
            ("repository".to_owned(), source.repository.clone()),
            ("tag".to_owned(), tag.to_owned()),
        ];
        if let Some(image) = image {
            fields.extend(chosen(source.label_regex.as_ref(), &image.config.config.labels));
            fields.extend(chosen(source.annotation_regex.as_ref(), &image.manifest.annotations));
        }
        fields
    }
}

fn format(params: &Fields<'_>) -> Result<Format, Invalid> {
    Ok(match params.string("format")?.as_deref() {
        None | Some("" | "rootfs") => Format::Rootfs,
        Some("oci") => Format::Oci,
        Some("oci-layout") => Format::OciLayout,
        Some(other) => {
            let reason = format!("{other:?} is none of rootfs, oci and oci-layout");
            return Err(Invalid::at("params.format", reason));
        }
    })
}

/// The entries whose key matches.
fn chosen(
    regex: Option<&Regex>,
    values: &BTreeMap<String, String>,
) -> impl Iterator<Item = (String, String)> {
    let matching = move |key: &str| regex.is_some_and(|regex| regex.is_match(key));
    values
        .iter()
        .filter(move |(key, _)| matching(key))
        .map(|(key, value)| (key.clone(), value.clone()))
}

/// The content of `metadata.json`: how containers of the image are run.
pub fn metadata_json(image: &ImageConfig) -> String {
    let config = &image.config;
    let metadata = json!({
        "cmd": config.cmd,
        "entrypoint": config.entrypoint,
        "env": config.env,
        "user": config.user,
        "working_dir": config.working_dir,
    });
    format!("{metadata}\n")
}

/// The content of `labels.json`.
pub fn labels_json(image: &ImageConfig) -> String {
    format!("{}\n", json!(image.config.labels))
}
