//! Pushing a commit, tags and notes.

mod params;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::git::command::{Git, without_login};
use crate::git::push::params::{Params, Strategy};
use crate::git::session::Session;
use crate::git::source::Source;
use crate::git::{metadata, refname};
use crate::log::Log;
use crate::payload::Payload;

/// How often a push that others overtake is tried with `merge` or `rebase`.
const MAX_ATTEMPTS: u32 = 100;

pub(super) fn run(
    source: &Source,
    payload: &Payload,
    artifacts: &Path,
    log: &Log,
) -> anyhow::Result<Value> {
    let fields = payload.params()?;
    log.ignored_keys(&fields.unknown(params::KEYS));
    let params = Params::parse(&fields)?;
    let branch = params.branch.clone().or_else(|| source.branch.clone());
    if branch.is_none() && !params.only_tag {
        bail!("source.branch or params.branch is required for a put");
    }
    let artifacts = artifacts
        .canonicalize()
        .with_context(|| format!("failed to find {}", artifacts.display()))?;
    let repository = artifacts.join(&params.repository);
    if !repository.is_dir() {
        bail!("params.repository: {} is not a directory among the artifacts", params.repository);
    }
    let existing = |key: &str, name: &Option<String>| -> anyhow::Result<Option<PathBuf>> {
        let Some(name) = name else { return Ok(None) };
        let path = artifacts.join(name);
        if !path.is_file() {
            bail!("params.{key}: file {name:?} does not exist");
        }
        Ok(Some(path))
    };
    let tag = existing("tag", &params.tag)?
        .map(|file| tag_name(&file, &params.tag_prefix))
        .transpose()?;
    let session = Session::open(&source.access, &source.uri)?;
    let git = Git::new(&session, &repository);
    let push = Push {
        git: &git,
        uri: &source.uri,
        branch: branch.as_deref().unwrap_or_default(),
        tag,
        annotation: existing("annotate", &params.annotate)?,
        notes: existing("notes", &params.notes)?,
        params: &params,
        log,
    };
    let before = git.line(&["rev-parse", "--verify", "HEAD"])?;
    push.run(&before)?;
    let unmerged = params.strategy == Strategy::Merge && params.returns_unmerged;
    let pushed = if unmerged { before } else { git.line(&["rev-parse", "HEAD"])? };
    let mut version = json!({"ref": pushed});
    if let Some(branch) = &params.branch {
        version["branch"] = json!(branch);
    }
    Ok(json!({"version": version, "metadata": metadata::of_head(&git)?}))
}

fn tag_name(file: &Path, prefix: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    fs::File::open(file)
        .and_then(|file| file.take(4096).read_to_string(&mut text))
        .with_context(|| format!("failed to read {}", file.display()))?;
    let name = format!("{prefix}{}", text.trim());
    refname::validate("params.tag", &name)?;
    Ok(name)
}

struct Push<'a> {
    git: &'a Git<'a>,
    uri: &'a str,
    branch: &'a str,
    tag: Option<String>,
    annotation: Option<PathBuf>,
    notes: Option<PathBuf>,
    params: &'a Params,
    log: &'a Log,
}

/// How a push that did not fail for good went.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    Done,
    /// Someone else pushed first.
    Overtaken,
}

impl Push<'_> {
    fn run(&self, commit: &str) -> anyhow::Result<()> {
        if self.params.only_tag {
            self.make_tag()?;
            return self.git.run(&self.push_args(None));
        }
        match self.params.strategy {
            Strategy::Plain => match self.push()? {
                Pushed::Done => Ok(()),
                Pushed::Overtaken => bail!(
                    "the push to {} of {} was rejected: the branch has commits this repository has not; \
                     set params.rebase or params.merge, or params.force to replace them",
                    self.branch,
                    without_login(self.uri)
                ),
            },
            Strategy::Merge | Strategy::Rebase => self.push_over(commit),
        }
    }

    /// Takes in what the branch has and pushes, until nobody comes in between.
    fn push_over(&self, commit: &str) -> anyhow::Result<()> {
        for attempt in 1..=MAX_ATTEMPTS {
            if attempt > 1 {
                self.log.info("the branch has moved on, trying again");
            }
            let notes = "refs/notes/*:refs/notes/*";
            let source = format!("refs/heads/{}", self.branch);
            if self.params.strategy == Strategy::Merge {
                self.git.run(&["reset", "--hard", commit])?;
                self.git.run(&["fetch", "--", self.uri, notes])?;
                self.git.run(&["pull", "--no-rebase", "--no-edit", "--", self.uri, &source])?;
            } else {
                self.git.run(&["fetch", "--", self.uri, notes])?;
                let mut args = vec!["pull".to_owned(), "--rebase=merges".into()];
                args.extend(
                    self.params.rebase_strategy.iter().map(|name| format!("--strategy={name}")),
                );
                args.extend(self.params.rebase_options.iter().map(|option| format!("-X{option}")));
                args.extend(["--".into(), self.uri.to_owned(), source]);
                self.git.run(&args)?;
            }
            if self.push()? == Pushed::Done {
                return Ok(());
            }
        }
        bail!(
            "gave up pushing to {} after {MAX_ATTEMPTS} attempts: others always pushed first",
            self.branch
        )
    }

    /// Tags, pushes the commit with all tags, then the notes.
    fn push(&self) -> anyhow::Result<Pushed> {
        self.make_tag()?;
        let target = format!("HEAD:{}/{}", self.params.refs_prefix, self.branch);
        if self.heard(&self.push_args(Some(&target)))? == Pushed::Overtaken {
            return Ok(Pushed::Overtaken);
        }
        if let Some(notes) = &self.notes {
            self.git.run(&["notes", "add", "-f", "-F", &notes.to_string_lossy()])?;
            let mut args = vec!["push".to_owned()];
            args.extend(
                self.params.push_options.iter().map(|option| format!("--push-option={option}")),
            );
            args.extend(["--".into(), self.uri.to_owned(), "refs/notes/*".into()]);
            return self.heard(&args);
        }
        Ok(Pushed::Done)
    }

    fn heard(&self, args: &[String]) -> anyhow::Result<Pushed> {
        let (succeeded, said) = self.git.heard(args)?;
        if succeeded {
            return Ok(Pushed::Done);
        }
        if is_overtaken(&said) {
            return Ok(Pushed::Overtaken);
        }
        bail!("the push to {} failed", without_login(self.uri))
    }

    fn push_args(&self, target: Option<&str>) -> Vec<String> {
        let mut args = vec!["push".to_owned(), "--tags".into()];
        args.extend(self.params.force.then(|| "--force".into()));
        args.extend(
            self.params.push_options.iter().map(|option| format!("--push-option={option}")),
        );
        args.extend(["--".into(), self.uri.to_owned()]);
        args.extend(target.map(str::to_owned));
        args
    }

    fn make_tag(&self) -> anyhow::Result<()> {
        let Some(tag) = &self.tag else { return Ok(()) };
        let annotation = self.annotation.as_ref().map(|file| file.to_string_lossy());
        let mut args = vec!["tag", "--force"];
        if let Some(file) = &annotation {
            args.extend(["--annotate", "--file", file]);
        }
        args.extend(["--", tag.as_str()]);
        self.git.run(&args)
    }
}

/// Whether git's words mean that the branch moved meanwhile, rather than that the push is not allowed.
fn is_overtaken(said: &str) -> bool {
    said.lines().any(|line| {
        line.contains("[rejected]") && !line.contains("already exists")
            || line.contains("[remote rejected]") && line.contains("cannot lock ref")
    })
}

#[cfg(test)]
mod tests;
