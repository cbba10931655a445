//! A clone with one version checked out.

pub(super) mod params;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::git::command::Git;
use crate::git::fetch::params::Params;
use crate::git::session::Session;
use crate::git::source::Source;
use crate::git::{metadata, refname, short_ref, submodule, verification};
use crate::log::Log;
use crate::payload::Payload;

/// A shallow clone is deepened up to this many commits before all of history is fetched.
const MAX_DEEPENING: u32 = 127;

pub(super) fn run(
    source: &Source,
    payload: &Payload,
    dest: &Path,
    log: &Log,
) -> anyhow::Result<Value> {
    let fields = payload.params()?;
    log.ignored_keys(&fields.unknown(params::KEYS));
    let params = Params::parse(&fields)?;
    let version = payload.version()?;
    let wanted = version.filled("ref")?.unwrap_or_else(|| "HEAD".to_owned());
    refname::validate("version.ref", &wanted)?;
    let branch = match version.filled("branch")? {
        Some(branch) => {
            refname::validate("version.branch", &branch)?;
            log.info(&format!("using branch {branch} of the version"));
            Some(branch)
        }
        None => source.branch.clone(),
    };

    let mut session = Session::open(&source.access, &source.uri)?;
    if params.disable_git_lfs {
        session.set("GIT_LFS_SKIP_SMUDGE", "1");
    }
    verification::prepare(&mut session, &source.verification)?;
    fs::create_dir_all(dest).with_context(|| format!("failed to create {}", dest.display()))?;
    let dest = dest.canonicalize().with_context(|| format!("failed to find {}", dest.display()))?;
    let git = Git::new(&session, &dest);
    let checkout =
        Checkout { git: &git, source, params: &params, branch: branch.as_deref(), wanted: &wanted };
    checkout.clone_repository()?;
    checkout.check_out(log)?;
    verification::check_head(&git, &source.verification)?;
    git.run(&["log", "-1", "--oneline"])?;
    git.run(&["clean", "--force", "--force", "-d"])?;
    submodule::update(&git, source, &params, log)?;
    for branch in &params.fetch {
        git.run(&["fetch", "origin", &format!("refs/heads/{branch}")])?;
        if !git.succeeds(&["show-ref", "--verify", "--quiet", &format!("refs/heads/{branch}")])? {
            git.run(&["branch", "--no-track", "--end-of-options", branch, "FETCH_HEAD"])?;
        }
    }
    let returned =
        if wanted == "HEAD" { git.line(&["rev-parse", "HEAD"])? } else { wanted.clone() };
    let metadata = metadata::of_head(&git)?;
    write_files(&git, &params, &returned, &metadata)?;
    if params.clean_tags {
        let tags = git.lines(&["tag", "--list"])?;
        for some in tags.chunks(500) {
            let names = some.iter().map(String::as_str);
            let args: Vec<&str> = ["tag", "--delete", "--"].into_iter().chain(names).collect();
            git.output(&args, b"")?;
        }
    }
    Ok(json!({"version": {"ref": returned}, "metadata": metadata}))
}

struct Checkout<'a> {
    git: &'a Git<'a>,
    source: &'a Source,
    params: &'a Params,
    branch: Option<&'a str>,
    /// A commit, a tag, or HEAD.
    wanted: &'a str,
}

impl Checkout<'_> {
    /// Clones into the (empty) destination without checking anything out.
    fn clone_repository(&self) -> anyhow::Result<()> {
        let depth = self.params.depth.map(|depth| format!("--depth={depth}"));
        let mut args = vec!["clone", "--progress", "--no-checkout"];
        // --depth alone would imply one branch.
        args.push(if self.params.all_branches { "--no-single-branch" } else { "--single-branch" });
        args.extend(depth.as_deref());
        args.extend(self.branch.iter().flat_map(|branch| ["--branch", branch]));
        args.extend((self.tag_flag() == Some("--no-tags")).then_some("--no-tags"));
        args.extend(["--", &self.source.uri, "."]);
        self.git.run(&args)?;
        for (name, value) in &self.source.access.git_config {
            self.git.run(&["config", "--local", "--", name, value])?;
        }
        if self.source.sparse_paths.iter().any(|path| path != ".") {
            self.git.run(&["config", "core.sparseCheckout", "true"])?;
            let file = self.git.dir().join(".git/info/sparse-checkout");
            if let Some(dir) = file.parent() {
                fs::create_dir_all(dir)
                    .with_context(|| format!("failed to create {}", dir.display()))?;
            }
            let patterns = self.source.sparse_paths.join("\n");
            fs::write(&file, format!("{patterns}\n"))
                .with_context(|| format!("failed to write {}", file.display()))?;
        }
        let mut args = vec!["fetch", "origin", "refs/notes/*:refs/notes/*"];
        args.extend(self.tag_flag());
        self.git.run(&args)
    }

    fn check_out(&self, log: &Log) -> anyhow::Result<()> {
        if let Some(depth) = self.params.depth {
            self.deepen(depth, log)?;
        }
        if !self.has(self.wanted)? {
            if self.source.search_remote_refs {
                self.search_remote_refs(log)?;
            } else if refname::is_object_id(self.wanted) {
                // Not on the branch (any more); many servers still hand it out by name.
                let _ = self.git.heard(&["fetch", "origin", self.wanted])?;
            }
        }
        if !self.has(self.wanted)? {
            bail!(
                "{} was not found in the repository{}: it may have been removed by a force push",
                self.wanted,
                self.branch.map(|branch| format!(" on branch {branch}")).unwrap_or_default()
            );
        }
        self.git.run(&["checkout", "--force", "--quiet", self.wanted, "--"])
    }

    /// Fetches more history until the version and `depth` commits of it are there.
    fn deepen(&self, depth: u32, log: &Log) -> anyhow::Result<()> {
        let oldest = format!("{}~{}", self.wanted, depth.saturating_sub(1));
        let (mut step, mut total) = (depth, depth);
        while !self.has(&oldest)? && self.git.dir().join(".git/shallow").exists() {
            log.info(&format!("could not find {oldest} in a shallow clone of depth {total}"));
            if total >= MAX_DEEPENING {
                log.info("fetching all of history");
                let mut args = vec!["fetch", "--unshallow", "origin"];
                args.extend(self.tag_flag());
                return self.git.run(&args);
            }
            step = step.saturating_mul(2);
            let deepen = format!("--deepen={step}");
            let mut args = vec!["fetch", &deepen, "origin"];
            args.extend(self.tag_flag());
            self.git.run(&args)?;
            total = total.saturating_add(step);
        }
        Ok(())
    }

    fn has(&self, name: &str) -> anyhow::Result<bool> {
        self.git.succeeds(&["cat-file", "-e", &format!("{name}^{{commit}}")])
    }

    /// Fetches whatever ref of the remote points at the version, such as those a review server makes.
    fn search_remote_refs(&self, log: &Log) -> anyhow::Result<()> {
        let refs = self.git.lines(&["ls-remote", "origin"])?;
        let found = refs
            .iter()
            .filter_map(|line| line.split_once('\t'))
            .find(|(commit, _)| *commit == self.wanted);
        match found {
            Some((_, name)) => {
                log.info(&format!("{} is not on the branch; fetching {name}", self.wanted));
                self.git.run(&["fetch", "origin", name])
            }
            None => {
                log.warn(&format!("no ref of the remote points at {}", self.wanted));
                Ok(())
            }
        }
    }

    fn tag_flag(&self) -> Option<&'static str> {
        match self.params.fetch_tags.or(self.source.fetch_tags) {
            Some(false) => Some("--no-tags"),
            Some(true) => Some("--tags"),
            None => self.source.tags.is_some().then_some("--tags"),
        }
    }
}

/// The files in `.git` that later steps read.
fn write_files(
    git: &Git<'_>,
    params: &Params,
    returned: &str,
    metadata: &Value,
) -> anyhow::Result<()> {
    let write = |name: &str, content: &[u8]| {
        let path = git.dir().join(".git").join(name);
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))
    };
    let log = |format: &str| git.output(&["log", "-1", "--no-show-signature", format], b"");
    write("ref", format!("{returned}\n").as_bytes())?;
    let short: String = returned.chars().take(7).collect();
    write("short_ref", short_ref::format(&params.short_ref_format, &short)?.as_bytes())?;
    // Named after the committer, but always the author: notification resources expect it so.
    write("committer", &log("--format=format:%ae")?)?;
    write("committer_name", &log("--format=format:%an")?)?;
    write("commit_message", &log("--format=format:%B")?)?;
    let date = format!("--date={}", params.timestamp_format);
    write(
        "commit_timestamp",
        &git.output(&["log", "-1", "--no-show-signature", "--format=%cd", &date], b"")?,
    )?;
    for name in ["commit", "author", "author_date", "branch", "tags", "url", "committer_date"] {
        let value = metadata::value(metadata, name);
        let text = if value.is_empty() { String::new() } else { format!("{value}\n") };
        write(name, text.as_bytes())?;
    }
    let mut describe = vec!["describe"];
    describe.extend(params.describe_ref_options.iter().map(String::as_str));
    // Without a tag to describe by, options may make git fail; the file is empty then.
    let described = git.line(&describe).unwrap_or_default();
    write("describe_ref", format!("{described}\n").as_bytes())?;
    write("metadata.json", format!("{metadata:#}\n").as_bytes())
}
