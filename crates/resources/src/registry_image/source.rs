//! The `source` of a registry image, checked.

use anyhow::{Context as _, bail};
use jb_oci::{Credentials, Platform, Reference};
use regex::Regex;

use crate::fields::Fields;

pub(super) const KEYS: &[&str] = &[
    "repository",
    "insecure",
    "tag",
    "tag_regex",
    "created_at_sort",
    "variant",
    "semver_constraint",
    "pre_releases",
    "pre_release_prefixes",
    "username",
    "password",
    "platform",
    "label_regex",
    "annotation_regex",
    "registry_mirror",
    "ca_certs",
    "debug",
];

/// What is followed and how it is reached.
#[derive(Debug)]
pub(super) struct Source {
    /// As written, for files and metadata.
    pub(super) repository: String,
    pub(super) reference: Reference,
    pub(super) insecure: bool,
    pub(super) follow: Follow,
    pub(super) created_at_sort: bool,
    pub(super) tag: Option<String>,
    pub(super) variant: Option<String>,
    pub(super) login: Option<Credentials>,
    /// Asked before Docker Hub.
    pub(super) mirror: Option<Mirror>,
    pub(super) ca_certs: Vec<String>,
    pub(super) platform: Option<Platform>,
    pub(super) label_regex: Option<Regex>,
    pub(super) annotation_regex: Option<Regex>,
}

#[derive(Debug, Clone)]
pub(super) struct Mirror {
    pub(super) host: String,
    pub(super) login: Option<Credentials>,
}

/// What makes a version.
#[derive(Debug)]
pub(super) enum Follow {
    /// The digests one tag stands for.
    Tag(String),
    /// All tags that match.
    Regex(Regex),
    /// Tags that are semantic versions.
    Semver(SemverRule),
}

/// Which semantic versions count.
#[derive(Debug, Default)]
pub(super) struct SemverRule {
    pub(super) variant: Option<String>,
    pub(super) constraint: Option<crate::registry_image::version::Constraint>,
    pub(super) pre_releases: bool,
    pub(super) pre_release_prefixes: Vec<String>,
}

impl Source {
    pub(super) fn parse(fields: &Fields<'_>) -> anyhow::Result<Self> {
        for key in fields.keys() {
            if (key == "content_trust" || key.starts_with("aws_") || key.starts_with("azure_"))
                && fields.value(key).is_some_and(|value| *value != serde_json::Value::Bool(false))
            {
                bail!("{}: unsupported by this registry-image resource", fields.path_of(key));
            }
        }
        let repository = fields.string("repository")?.filter(|name| !name.is_empty());
        let repository =
            repository.with_context(|| format!("{} is required", fields.path_of("repository")))?;
        let reference =
            Reference::parse(&repository).with_context(|| fields.path_of("repository"))?;
        if reference.tag.is_some() || reference.digest.is_some() {
            bail!("{}: give the tag in source.tag, not in the name", fields.path_of("repository"));
        }
        let regex = |key: &str| -> anyhow::Result<Option<Regex>> {
            let Some(text) = fields.string(key)?.filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            Regex::new(&text)
                .map(Some)
                .with_context(|| format!("{}: invalid regular expression", fields.path_of(key)))
        };
        let variant = fields.string("variant")?.filter(|variant| !variant.is_empty());
        let tag = fields.filled("tag")?;
        let follow = match (&tag, regex("tag_regex")?) {
            (Some(tag), _) => Follow::Tag(tag.clone()),
            (None, Some(regex)) => Follow::Regex(regex),
            (None, None) => Follow::Semver(semver_rule(fields, variant.clone())?),
        };
        Ok(Self {
            repository,
            reference,
            insecure: fields.flag("insecure", false)?,
            follow,
            created_at_sort: fields.flag("created_at_sort", false)?,
            tag,
            variant,
            login: login(fields)?,
            mirror: mirror(&fields.map("registry_mirror")?)?,
            ca_certs: fields.texts("ca_certs")?,
            platform: platform(&fields.map("platform")?)?,
            label_regex: regex("label_regex")?,
            annotation_regex: regex("annotation_regex")?,
        })
    }

    /// The platform of a step, else of the source, else of this machine.
    pub(super) fn platform(&self, step: Option<Platform>) -> Platform {
        step.or_else(|| self.platform.clone()).unwrap_or_else(Platform::host)
    }
}

fn semver_rule(fields: &Fields<'_>, variant: Option<String>) -> anyhow::Result<SemverRule> {
    let constraint = fields.string("semver_constraint")?.filter(|text| !text.is_empty());
    let constraint =
        constraint.map(|text| crate::registry_image::version::Constraint::parse(&text)).transpose();
    Ok(SemverRule {
        variant,
        constraint: constraint.with_context(|| fields.path_of("semver_constraint"))?,
        pre_releases: fields.flag("pre_releases", false)?,
        pre_release_prefixes: fields.texts("pre_release_prefixes")?,
    })
}

/// The platform a map names; what it leaves out is this machine's. None when it is empty.
pub(super) fn platform(fields: &Fields<'_>) -> anyhow::Result<Option<Platform>> {
    let (os, architecture) = (fields.filled("os")?, fields.filled("architecture")?);
    if os.is_none() && architecture.is_none() {
        return Ok(None);
    }
    let host = Platform::host();
    let (os, architecture) = (os.unwrap_or(host.os), architecture.unwrap_or(host.architecture));
    Ok(Some(Platform::new(&os, &architecture)))
}

fn mirror(fields: &Fields<'_>) -> anyhow::Result<Option<Mirror>> {
    let Some(host) = fields.filled("host")? else { return Ok(None) };
    Reference::parse(&format!("{host}/x"))
        .ok()
        .filter(|parsed| parsed.registry == host)
        .with_context(|| {
            format!("{}: {host:?} is not a registry's host name", fields.path_of("host"))
        })?;
    Ok(Some(Mirror { host, login: login(fields)? }))
}

fn login(fields: &Fields<'_>) -> anyhow::Result<Option<Credentials>> {
    let both = fields.filled("username")?.zip(fields.filled("password")?);
    Ok(both.map(|(username, password)| Credentials { username, password }))
}

#[cfg(test)]
mod tests;
