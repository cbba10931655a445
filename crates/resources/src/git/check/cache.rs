//! The bare clone that checks keep in the temporary directory, so that the next one only fetches what is new.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::git::command::Git;
use crate::git::session::Session;
use crate::git::source::Source;
use crate::log::Log;

/// An up-to-date bare clone, held until dropped: two checks in one container wait for each other.
#[derive(Debug)]
pub(super) struct Cached {
    repository: PathBuf,
    _lock: fs::File,
}

impl Cached {
    pub(super) fn git<'s>(&self, session: &'s Session) -> Git<'s> {
        Git::new(session, &self.repository)
    }
}

/// Fetches into the clone of this source, or makes one. A clone that cannot be fetched into is made anew.
pub(super) fn refresh(session: &Session, source: &Source, log: &Log) -> anyhow::Result<Cached> {
    let dir = std::env::temp_dir().join(format!("git-resource-cache-{}", key(source)));
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let lock_path = dir.join("lock");
    let lock = fs::File::create(&lock_path)
        .with_context(|| format!("failed to create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("failed to lock {}", lock_path.display()))?;
    let repository = dir.join("repository");
    let cached = Cached { repository: repository.clone(), _lock: lock };
    if repository.exists() {
        match fetch(&cached.git(session), source) {
            Ok(()) => return Ok(cached),
            Err(error) => log.warn(&format!("cloning anew: {error:#}")),
        }
        fs::remove_dir_all(&repository)
            .with_context(|| format!("failed to remove {}", repository.display()))?;
    }
    // Cloned beside and renamed: a check that is killed leaves nothing that looks whole.
    let partial = dir.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("failed to remove {}", partial.display()))?;
    }
    clone(&Git::new(session, &dir), source)?;
    fs::rename(&partial, &repository)
        .with_context(|| format!("failed to rename {}", partial.display()))?;
    Ok(cached)
}

fn clone(git: &Git<'_>, source: &Source) -> anyhow::Result<()> {
    let mut args = vec!["clone", "--bare", "--progress", filter(source)];
    if source.tags.is_some() {
        args.push("--no-single-branch");
    } else {
        args.extend(["--single-branch", "--no-tags"]);
    }
    if let Some(branch) = &source.branch {
        args.extend(["--branch", branch]);
    }
    args.extend(["--", &source.uri, "partial"]);
    git.run(&args)
}

fn fetch(git: &Git<'_>, source: &Source) -> anyhow::Result<()> {
    if source.tags.is_some() {
        return git.run(&[
            "fetch",
            "--force",
            "--prune",
            "origin",
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
        ]);
    }
    let branch = match &source.branch {
        Some(branch) => format!("refs/heads/{branch}"),
        None => git.line(&["symbolic-ref", "HEAD"])?,
    };
    git.run(&["fetch", "--force", "--no-tags", "origin", &format!("+{branch}:{branch}")])
}

/// History alone is enough, except to tell which paths a commit changed.
fn filter(source: &Source) -> &'static str {
    if source.pathspecs().is_empty() { "--filter=tree:0" } else { "--filter=blob:none" }
}

/// Names the clone: sources that need other refs or other objects do not share one.
fn key(source: &Source) -> String {
    let parts = [
        source.uri.as_str(),
        source.branch.as_deref().unwrap_or_default(),
        if source.tags.is_some() { "tags" } else { "" },
        filter(source),
    ];
    let digest = Sha256::digest(parts.join("\0"));
    digest[..10].iter().map(|byte| format!("{byte:02x}")).collect()
}
