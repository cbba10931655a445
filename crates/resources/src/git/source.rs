//! The `source` of a git resource, checked.

use anyhow::{Context as _, bail};
use jb_model::script::Fields;
use regex::Regex;

use crate::git::refname;

pub(super) const KEYS: &[&str] = &[
    "uri",
    "branch",
    "private_key",
    "private_key_user",
    "private_key_passphrase",
    "forward_agent",
    "username",
    "password",
    "paths",
    "sparse_paths",
    "ignore_paths",
    "skip_ssl_verification",
    "tag_filter",
    "tag_regex",
    "tag_behaviour",
    "fetch_tags",
    "submodule_credentials",
    "git_config",
    "disable_ci_skip",
    "commit_verification_keys",
    "commit_verification_key_ids",
    "gpg_keyserver",
    "git_crypt_key",
    "https_tunnel",
    "commit_filter",
    "version_depth",
    "search_remote_refs",
    "debug",
];

/// What is followed and how it is reached.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) branch: Option<String>,
    pub(super) access: Access,
    pub(super) paths: Vec<String>,
    pub(super) ignore_paths: Vec<String>,
    pub(super) sparse_paths: Vec<String>,
    pub(super) tags: Option<TagRule>,
    pub(super) tag_behaviour: TagBehaviour,
    pub(super) fetch_tags: Option<bool>,
    /// Whether commits marked `[ci skip]` or `[skip ci]` count.
    pub(super) disable_ci_skip: bool,
    pub(super) commit_filter: CommitFilter,
    /// How many versions a first check returns; None is 1.
    pub(super) version_depth: Option<u32>,
    pub(super) search_remote_refs: bool,
    pub(super) verification: Verification,
}

/// How to reach remotes: credentials and git's settings.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) private_key: Option<PrivateKey>,
    pub(super) private_key_user: Option<String>,
    pub(super) login: Option<Login>,
    pub(super) submodule_logins: Vec<(String, Login)>,
    /// Submodule address as written in `.gitmodules`, and the key for it.
    pub(super) submodule_keys: Vec<(String, PrivateKey)>,
    pub(super) skip_ssl_verification: bool,
    pub(super) git_config: Vec<(String, String)>,
    pub(super) debug: bool,
}

#[derive(Debug, Clone)]
pub(super) struct PrivateKey {
    pub(super) pem: String,
    pub(super) passphrase: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

/// Which tags are versions.
#[derive(Debug)]
pub(super) enum TagRule {
    /// A glob for `git tag --list`.
    Glob(String),
    /// Matches the whole name.
    Regex(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagBehaviour {
    /// Versions are the matching tags.
    MatchTagged,
    /// Versions are the commits that a matching tag contains.
    MatchTagAncestors,
}

/// Regular expressions (git's basic ones) over commit messages.
#[derive(Debug, Default)]
pub(super) struct CommitFilter {
    pub(super) include: Vec<String>,
    pub(super) include_all_match: bool,
    pub(super) exclude: Vec<String>,
    pub(super) exclude_all_match: bool,
}

/// Keys one of which must have signed a fetched commit; both empty is no verification.
#[derive(Debug, Default)]
pub(super) struct Verification {
    pub(super) keys: Vec<String>,
    pub(super) key_ids: Vec<String>,
    pub(super) keyserver: Option<String>,
}

impl Source {
    pub(super) fn parse(fields: &Fields<'_>) -> anyhow::Result<Self> {
        for unsupported in ["https_tunnel", "git_crypt_key"] {
            if fields.value(unsupported).is_some() {
                bail!("{}: unsupported by this git resource", fields.path_of(unsupported));
            }
        }
        if fields.flag("forward_agent", false)? {
            bail!("{}: unsupported by this git resource", fields.path_of("forward_agent"));
        }
        let uri = fields
            .filled("uri")?
            .with_context(|| format!("{} is required", fields.path_of("uri")))?;
        let uri = uri.trim().to_owned();
        refname::validate_uri(&fields.path_of("uri"), &uri)?;
        let branch = fields.filled("branch")?.map(|branch| branch.trim().to_owned());
        if let Some(branch) = &branch {
            refname::validate(&fields.path_of("branch"), branch)?;
        }
        let filter = fields.map("commit_filter")?;
        Ok(Self {
            access: Access::parse(fields)?,
            uri,
            branch,
            paths: fields.texts("paths")?,
            ignore_paths: fields.texts("ignore_paths")?,
            sparse_paths: fields.texts("sparse_paths")?,
            tags: tag_rule(fields)?,
            tag_behaviour: match fields.filled("tag_behaviour")?.as_deref() {
                None | Some("match_tagged") => TagBehaviour::MatchTagged,
                Some("match_tag_ancestors") => TagBehaviour::MatchTagAncestors,
                Some(other) => bail!(
                    "{}: {other:?} is neither match_tagged nor match_tag_ancestors",
                    fields.path_of("tag_behaviour")
                ),
            },
            fetch_tags: fields.optional_flag("fetch_tags")?,
            disable_ci_skip: fields.flag("disable_ci_skip", false)?,
            commit_filter: CommitFilter {
                include: filter.texts("include")?,
                include_all_match: filter.flag("include_all_match", false)?,
                exclude: filter.texts("exclude")?,
                exclude_all_match: filter.flag("exclude_all_match", false)?,
            },
            version_depth: fields.count("version_depth", 1)?,
            search_remote_refs: fields.flag("search_remote_refs", false)?,
            verification: Verification {
                keys: fields.texts("commit_verification_keys")?,
                key_ids: fields.texts("commit_verification_key_ids")?,
                keyserver: fields.filled("gpg_keyserver")?,
            },
        })
    }

    /// Whether every commit of the branch counts.
    pub(super) fn takes_every_commit(&self) -> bool {
        self.disable_ci_skip
            && self.paths.is_empty()
            && self.ignore_paths.is_empty()
            && self.tags.is_none()
            && self.commit_filter.include.is_empty()
            && self.commit_filter.exclude.is_empty()
    }

    /// Pathspecs that limit history; empty is no limit.
    pub(super) fn pathspecs(&self) -> Vec<String> {
        let everything = self.paths.is_empty() || self.paths == ["."];
        if everything && self.ignore_paths.is_empty() {
            return Vec::new();
        }
        let wanted = if everything { vec![".".to_owned()] } else { self.paths.clone() };
        let ignored = self.ignore_paths.iter().map(|path| format!(":!{path}"));
        wanted.into_iter().chain(ignored).collect()
    }
}

fn tag_rule(fields: &Fields<'_>) -> anyhow::Result<Option<TagRule>> {
    match (fields.filled("tag_filter")?, fields.filled("tag_regex")?) {
        (Some(_), Some(_)) => bail!("cannot provide both tag_filter and tag_regex"),
        (Some(glob), None) => Ok(Some(TagRule::Glob(glob.trim().to_owned()))),
        (None, Some(regex)) => Regex::new(&format!("^(?:{})$", regex.trim()))
            .with_context(|| format!("{}: invalid regular expression", fields.path_of("tag_regex")))
            .map(|regex| Some(TagRule::Regex(regex))),
        (None, None) => Ok(None),
    }
}

impl Access {
    fn parse(fields: &Fields<'_>) -> anyhow::Result<Self> {
        let mut submodule_logins = Vec::new();
        let mut submodule_keys = Vec::new();
        for entry in fields.maps("submodule_credentials")? {
            if let (Some(host), Some(login)) = (entry.filled("host")?, login(&entry)?) {
                submodule_logins.push((host, login));
            }
            if let (Some(url), Some(key)) = (entry.filled("url")?, private_key(&entry)?) {
                submodule_keys.push((url, key));
            }
        }
        let user = fields.filled("private_key_user")?;
        if user.as_ref().is_some_and(|user| {
            user.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
        }) {
            bail!("{}: not a user name", fields.path_of("private_key_user"));
        }
        let mut git_config = Vec::new();
        for setting in fields.maps("git_config")? {
            let name = setting
                .filled("name")?
                .with_context(|| format!("{} is required", setting.path_of("name")))?;
            if !name.contains('.') || name.contains('\n') {
                bail!("{}: {name:?} is not the name of a git setting", setting.path_of("name"));
            }
            let value = setting
                .value("value")
                .and_then(serde_json::Value::as_bool)
                .map(|flag| flag.to_string());
            let value = value.map_or_else(|| setting.text("value"), |flag| Ok(Some(flag)))?;
            git_config.push((name, value.unwrap_or_default()));
        }
        Ok(Self {
            private_key: private_key(fields)?,
            private_key_user: user,
            login: login(fields)?,
            submodule_logins,
            submodule_keys,
            skip_ssl_verification: fields.flag("skip_ssl_verification", false)?,
            git_config,
            debug: fields.flag("debug", false)?,
        })
    }
}

fn private_key(fields: &Fields<'_>) -> anyhow::Result<Option<PrivateKey>> {
    let passphrase = fields.filled("private_key_passphrase")?;
    Ok(fields.filled("private_key")?.map(|pem| PrivateKey { pem, passphrase }))
}

fn login(fields: &Fields<'_>) -> anyhow::Result<Option<Login>> {
    let both = fields.filled("username")?.zip(fields.filled("password")?);
    Ok(both.map(|(username, password)| Login { username, password }))
}

#[cfg(test)]
mod tests;
