//! The `params` of a get step, checked.

use anyhow::bail;
use jb_model::script::Fields;
use serde_json::Value;

use crate::git::refname;

pub(super) const KEYS: &[&str] = &[
    "depth",
    "fetch",
    "fetch_tags",
    "submodules",
    "submodule_recursive",
    "submodule_remote",
    "disable_git_lfs",
    "clean_tags",
    "short_ref_format",
    "timestamp_format",
    "describe_ref_options",
    "all_branches",
    "debug",
];

/// How a version is fetched.
#[derive(Debug)]
pub(in crate::git) struct Params {
    /// Commits of history; None is all.
    pub(in crate::git) depth: Option<u32>,
    /// Further branches to make available locally.
    pub(super) fetch: Vec<String>,
    pub(super) fetch_tags: Option<bool>,
    pub(in crate::git) submodules: Submodules,
    pub(in crate::git) submodule_recursive: bool,
    pub(in crate::git) submodule_remote: bool,
    pub(super) disable_git_lfs: bool,
    pub(super) clean_tags: bool,
    pub(super) short_ref_format: String,
    pub(super) timestamp_format: String,
    pub(super) describe_ref_options: Vec<String>,
    pub(super) all_branches: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) enum Submodules {
    All,
    None,
    /// Only those at these paths.
    Paths(Vec<String>),
}

impl Params {
    pub(super) fn parse(fields: &Fields<'_>) -> anyhow::Result<Self> {
        let fetch = fields.texts("fetch")?;
        for branch in &fetch {
            refname::validate("params.fetch", branch)?;
        }
        let describe = fields
            .text("describe_ref_options")?
            .unwrap_or_else(|| "--always --dirty --broken".into());
        let describe_ref_options: Vec<String> = describe.split_whitespace().map(unquoted).collect();
        Ok(Self {
            depth: fields.count("depth", 0)?.filter(|depth| *depth > 0),
            fetch,
            fetch_tags: fields.optional_flag("fetch_tags")?,
            submodules: submodules(fields)?,
            submodule_recursive: fields.flag("submodule_recursive", true)?,
            submodule_remote: fields.flag("submodule_remote", false)?,
            disable_git_lfs: fields.flag("disable_git_lfs", false)?,
            clean_tags: fields.flag("clean_tags", false)?,
            short_ref_format: fields.text("short_ref_format")?.unwrap_or_else(|| "%s".into()),
            timestamp_format: fields.text("timestamp_format")?.unwrap_or_else(|| "iso8601".into()),
            describe_ref_options,
            all_branches: fields.flag("all_branches", false)?,
        })
    }
}

fn submodules(fields: &Fields<'_>) -> anyhow::Result<Submodules> {
    match fields.value("submodules") {
        None => Ok(Submodules::All),
        Some(Value::String(text)) if text == "all" => Ok(Submodules::All),
        Some(Value::String(text)) if text == "none" => Ok(Submodules::None),
        Some(Value::Array(_)) => Ok(Submodules::Paths(fields.texts("submodules")?)),
        Some(_) => bail!("{}: expected all, none or a list of paths", fields.path_of("submodules")),
    }
}

/// `--match='v*'` as people write it for a shell.
fn unquoted(word: &str) -> String {
    word.replace(['\'', '"'], "")
}

impl Submodules {
    /// Whether the submodule at `path` is wanted; a path also names what ends with it.
    pub(in crate::git) fn contains(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Paths(paths) => {
                paths.iter().map(|wanted| wanted.trim_end_matches('/')).any(|wanted| {
                    path.strip_suffix(wanted)
                        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
