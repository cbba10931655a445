//! The `params` of a put step, checked.

use anyhow::{Context as _, bail};
use jb_model::script::Fields;
use serde_json::Value;

use crate::git::refname;

pub(super) const KEYS: &[&str] = &[
    "repository",
    "rebase",
    "rebase_strategy",
    "rebase_strategy_option",
    "merge",
    "returning",
    "tag",
    "only_tag",
    "tag_prefix",
    "force",
    "annotate",
    "notes",
    "branch",
    "refs_prefix",
    "push_options",
    "debug",
];

/// What is pushed and how; file names are relative to the artifacts.
#[derive(Debug)]
pub(super) struct Params {
    pub(super) repository: String,
    pub(super) strategy: Strategy,
    pub(super) rebase_strategy: Option<String>,
    pub(super) rebase_options: Vec<String>,
    /// After a merge, return the commit as it was before.
    pub(super) returns_unmerged: bool,
    pub(super) tag: Option<String>,
    pub(super) only_tag: bool,
    pub(super) tag_prefix: String,
    pub(super) force: bool,
    pub(super) annotate: Option<String>,
    pub(super) notes: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) refs_prefix: String,
    pub(super) push_options: Vec<String>,
}

/// What to do when the branch has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    Plain,
    Merge,
    Rebase,
}

impl Params {
    pub(super) fn parse(fields: &Fields<'_>) -> anyhow::Result<Self> {
        let strategy = match (fields.flag("merge", false)?, fields.flag("rebase", false)?) {
            (true, true) => {
                bail!("invalid push strategy: either merge or rebase can be set, but not both")
            }
            (true, false) => Strategy::Merge,
            (false, true) => Strategy::Rebase,
            (false, false) => Strategy::Plain,
        };
        let returns_unmerged = match fields.filled("returning")?.as_deref() {
            None | Some("merged") => false,
            Some("unmerged") => true,
            Some(other) => {
                bail!("{}: {other:?} is neither merged nor unmerged", fields.path_of("returning"))
            }
        };
        let rebase_options = match fields.value("rebase_strategy_option") {
            Some(Value::Array(_)) => fields.texts("rebase_strategy_option")?,
            _ => {
                let options = fields.text("rebase_strategy_option")?.unwrap_or_default();
                options.split_whitespace().map(str::to_owned).collect()
            }
        };
        let branch = fields.filled("branch")?;
        let refs_prefix = fields.filled("refs_prefix")?.unwrap_or_else(|| "refs/heads".into());
        refname::validate(&fields.path_of("refs_prefix"), &refs_prefix)?;
        if let Some(branch) = &branch {
            refname::validate(&fields.path_of("branch"), branch)?;
        }
        Ok(Self {
            repository: fields.filled("repository")?.context("params.repository is required")?,
            strategy,
            rebase_strategy: fields.filled("rebase_strategy")?,
            rebase_options,
            returns_unmerged,
            tag: fields.filled("tag")?,
            only_tag: fields.flag("only_tag", false)?,
            tag_prefix: fields.text("tag_prefix")?.unwrap_or_default(),
            force: fields.flag("force", false)?,
            annotate: fields.filled("annotate")?,
            notes: fields.filled("notes")?,
            branch,
            refs_prefix,
            push_options: fields.texts("push_options")?,
        })
    }
}
