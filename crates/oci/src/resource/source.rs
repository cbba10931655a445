//! The `source` of a registry image, checked.

use std::fmt::Display;

use jb_model::script::{FieldError, Fields};
use regex::Regex;

use super::version::Constraint;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::Credentials;

/// Every key a source may have.
pub const SOURCE_KEYS: &[&str] = &[
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

/// A source, params or version that cannot be used; the text names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(super) fn at(path: &str, reason: impl Display) -> Self {
        Self(format!("{path}: {reason}"))
    }
}

impl From<FieldError> for Invalid {
    fn from(error: FieldError) -> Self {
        Self(error.to_string())
    }
}

/// What is followed and how it is reached.
#[derive(Debug)]
pub struct Source {
    /// As written, for files and metadata.
    pub repository: String,
    pub reference: Reference,
    pub insecure: bool,
    pub follow: Follow,
    pub created_at_sort: bool,
    pub tag: Option<String>,
    pub variant: Option<String>,
    pub login: Option<Credentials>,
    /// Asked before Docker Hub.
    pub mirror: Option<Mirror>,
    pub ca_certs: Vec<String>,
    pub platform: Option<Platform>,
    pub label_regex: Option<Regex>,
    pub annotation_regex: Option<Regex>,
}

#[derive(Debug, Clone)]
pub struct Mirror {
    pub host: String,
    pub login: Option<Credentials>,
}

/// What makes a version.
#[derive(Debug)]
pub enum Follow {
    /// The digests one tag stands for.
    Tag(String),
    /// All tags that match.
    Regex(Regex),
    /// Tags that are semantic versions.
    Semver(SemverRule),
}

/// Which semantic versions count.
#[derive(Debug, Default)]
pub struct SemverRule {
    pub variant: Option<String>,
    pub constraint: Option<Constraint>,
    pub pre_releases: bool,
    pub pre_release_prefixes: Vec<String>,
}

impl Source {
    pub fn parse(fields: &Fields<'_>) -> Result<Self, Invalid> {
        for key in fields.keys() {
            if (key == "content_trust" || key.starts_with("aws_") || key.starts_with("azure_"))
                && fields.value(key).is_some_and(|value| *value != serde_json::Value::Bool(false))
            {
                let reason = "unsupported by this registry-image resource";
                return Err(Invalid::at(&fields.path_of(key), reason));
            }
        }
        let repository = fields.string("repository")?.filter(|name| !name.is_empty());
        let path = fields.path_of("repository");
        let repository = repository.ok_or_else(|| Invalid(format!("{path} is required")))?;
        let reference = Reference::parse(&repository).map_err(|error| Invalid::at(&path, error))?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(Invalid::at(&path, "give the tag in source.tag, not in the name"));
        }
        let regex = |key: &str| -> Result<Option<Regex>, Invalid> {
            let Some(text) = fields.string(key)?.filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            Regex::new(&text).map(Some).map_err(|error| {
                let reason = format!("invalid regular expression: {error}");
                Invalid::at(&fields.path_of(key), reason)
            })
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
    pub fn platform(&self, step: Option<Platform>) -> Platform {
        step.or_else(|| self.platform.clone()).unwrap_or_else(Platform::host)
    }
}

fn semver_rule(fields: &Fields<'_>, variant: Option<String>) -> Result<SemverRule, Invalid> {
    let constraint = fields.string("semver_constraint")?.filter(|text| !text.is_empty());
    let constraint = constraint.map(|text| Constraint::parse(&text)).transpose();
    Ok(SemverRule {
        variant,
        constraint: constraint
            .map_err(|error| Invalid::at(&fields.path_of("semver_constraint"), error))?,
        pre_releases: fields.flag("pre_releases", false)?,
        pre_release_prefixes: fields.texts("pre_release_prefixes")?,
    })
}

/// The platform a map names; what it leaves out is this machine's. None when it is empty.
pub(super) fn platform(fields: &Fields<'_>) -> Result<Option<Platform>, Invalid> {
    let (os, architecture) = (fields.filled("os")?, fields.filled("architecture")?);
    if os.is_none() && architecture.is_none() {
        return Ok(None);
    }
    let host = Platform::host();
    let (os, architecture) = (os.unwrap_or(host.os), architecture.unwrap_or(host.architecture));
    Ok(Some(Platform::new(&os, &architecture)))
}

fn mirror(fields: &Fields<'_>) -> Result<Option<Mirror>, Invalid> {
    let Some(host) = fields.filled("host")? else { return Ok(None) };
    Reference::parse(&format!("{host}/x"))
        .ok()
        .filter(|parsed| parsed.registry == host)
        .ok_or_else(|| {
            let reason = format!("{host:?} is not a registry's host name");
            Invalid::at(&fields.path_of("host"), reason)
        })?;
    Ok(Some(Mirror { host, login: login(fields)? }))
}

fn login(fields: &Fields<'_>) -> Result<Option<Credentials>, Invalid> {
    let both = fields.filled("username")?.zip(fields.filled("password")?);
    Ok(both.map(|(username, password)| Credentials { username, password }))
}

#[cfg(test)]
mod tests;
