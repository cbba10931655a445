//! New versions: commits of a branch, or tags.

mod cache;

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::git::command::Git;
use crate::git::refname;
use crate::git::session::Session;
use crate::git::source::{Source, TagBehaviour, TagRule};
use crate::log::Log;
use crate::payload::Payload;

pub(super) fn run(source: &Source, payload: &Payload, log: &Log) -> anyhow::Result<Value> {
    let given = payload.version()?.filled("ref")?;
    let session = Session::open(&source.access, &source.uri)?;
    let here = Git::new(&session, std::env::temp_dir());
    if source.tags.is_none() {
        let Some(tip) = remote_tip(&here, source)? else {
            if let Some(branch) = &source.branch {
                anyhow::bail!("branch {branch} was not found in the repository");
            }
            return Ok(json!([]));
        };
        let depth = source.version_depth.unwrap_or(1);
        // Most checks end here, without fetching: nothing has happened since the given version.
        let nothing_new = given.as_ref() == Some(&tip);
        if nothing_new || given.is_none() && depth == 1 && source.takes_every_commit() {
            return Ok(json!([{"ref": tip}]));
        }
    }
    let cached = cache::refresh(&session, source, log)?;
    let git = cached.git(&session);
    if !git.succeeds(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])? {
        return Ok(json!([]));
    }
    let since = given.as_deref().map(|given| Since::find(&git, given)).transpose()?.flatten();
    let versions = match &source.tags {
        None => commits(&git, source, since.as_ref())?,
        Some(rule) => tags(&git, source, rule, since.as_ref())?,
    };
    Ok(Value::Array(versions))
}

/// The commit the branch points at now, asked of the remote without fetching.
fn remote_tip(git: &Git<'_>, source: &Source) -> anyhow::Result<Option<String>> {
    let name = source
        .branch
        .as_ref()
        .map_or_else(|| "HEAD".to_owned(), |branch| format!("refs/heads/{branch}"));
    let lines = git.lines(&["ls-remote", "--", &source.uri, &name])?;
    // The pattern also matches refs that only end in the name.
    let tip =
        lines.iter().filter_map(|line| line.split_once('\t')).find(|(_, found)| *found == name);
    Ok(tip.map(|(commit, _)| commit.to_owned()))
}

/// The version a check starts from, where it still exists.
struct Since {
    /// As given: a commit, or the name of a tag.
    name: String,
    commit: String,
    has_parent: bool,
}

impl Since {
    fn find(git: &Git<'_>, name: &str) -> anyhow::Result<Option<Self>> {
        if refname::validate("version.ref", name).is_err() {
            return Ok(None);
        }
        let commit = format!("{name}^{{commit}}");
        if !git.succeeds(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])? {
            return Ok(None);
        }
        let commit = git.line(&["rev-parse", "--verify", "--end-of-options", &commit])?;
        // rev-parse takes any whole object name; only a commit that can be read has parents to ask for.
        if !git.succeeds(&["cat-file", "-e", &commit])? {
            return Ok(None);
        }
        let has_parent =
            git.succeeds(&["rev-parse", "--verify", "--quiet", &format!("{commit}~1")])?;
        Ok(Some(Self { name: name.to_owned(), commit, has_parent }))
    }

    /// What to leave out so that history starts with this commit.
    fn exclusion(&self) -> Option<String> {
        self.has_parent.then(|| format!("^{}~1", self.commit))
    }
}

fn commits(git: &Git<'_>, source: &Source, since: Option<&Since>) -> anyhow::Result<Vec<Value>> {
    // A commit that the branch no longer contains, as after a force push, is no place to continue from.
    let since = match since {
        Some(since) if git.succeeds(&["merge-base", "--is-ancestor", &since.commit, "HEAD"])? => {
            Some(since)
        }
        _ => None,
    };
    let mut newest_first = history(git, source, &["HEAD"], since)?;
    if since.is_none() {
        newest_first.truncate(source.version_depth.unwrap_or(1) as usize);
    }
    Ok(newest_first.iter().rev().map(|commit| json!({"ref": commit})).collect())
}

/// The commits that pass every filter, newest first, following first parents.
fn history(
    git: &Git<'_>,
    source: &Source,
    tips: &[&str],
    since: Option<&Since>,
) -> anyhow::Result<Vec<String>> {
    let mut args: Vec<String> = vec!["rev-list".into(), "--first-parent".into()];
    args.extend(tips.iter().map(|tip| (*tip).to_owned()));
    args.extend(since.and_then(Since::exclusion));
    args.push("--".into());
    args.extend(source.pathspecs());
    let mut commits = git.lines(&args)?;
    let filter = &source.commit_filter;
    if !filter.include.is_empty() {
        commits = matching(git, &commits, &filter.include, filter.include_all_match)?;
    }
    commits = without(git, commits, &filter.exclude, filter.exclude_all_match)?;
    if !source.disable_ci_skip {
        let skips = [r"\[ci\sskip\]".to_owned(), r"\[skip\sci\]".to_owned()];
        commits = without(git, commits, &skips, false)?;
    }
    Ok(commits)
}

/// Those of `commits` whose message matches any (or all) of `patterns`, in the same order.
fn matching(
    git: &Git<'_>,
    commits: &[String],
    patterns: &[String],
    all: bool,
) -> anyhow::Result<Vec<String>> {
    if patterns.is_empty() || commits.is_empty() {
        return Ok(Vec::new());
    }
    let mut args: Vec<String> =
        ["rev-list", "--stdin", "--no-walk=unsorted"].map(str::to_owned).to_vec();
    args.extend(patterns.iter().map(|pattern| format!("--grep={pattern}")));
    args.extend(all.then(|| "--all-match".to_owned()));
    git.lines_from(&args, commits)
}

/// The others. Not by `--invert-grep`, which together with `--all-match` leaves out commits that match only one.
fn without(
    git: &Git<'_>,
    mut commits: Vec<String>,
    patterns: &[String],
    all: bool,
) -> anyhow::Result<Vec<String>> {
    let excluded: HashSet<String> = matching(git, &commits, patterns, all)?.into_iter().collect();
    commits.retain(|commit| !excluded.contains(commit));
    Ok(commits)
}

fn tags(
    git: &Git<'_>,
    source: &Source,
    rule: &TagRule,
    since: Option<&Since>,
) -> anyhow::Result<Vec<Value>> {
    let names = tag_names(git, source, rule, since)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let commits = history(git, source, &["--all"], since)?;
    let mut versions: Vec<Value> = match source.tag_behaviour {
        TagBehaviour::MatchTagged => {
            let allowed: HashSet<&str> = commits.iter().map(String::as_str).collect();
            let mut versions = Vec::new();
            for name in &names {
                let commit =
                    git.line(&["rev-list", "-n", "1", &format!("refs/tags/{name}"), "--"])?;
                if allowed.contains(commit.as_str()) {
                    versions.push(json!({"ref": name, "commit": commit}));
                }
            }
            versions
        }
        TagBehaviour::MatchTagAncestors => {
            let tips: Vec<String> = names.iter().map(|name| format!("refs/tags/{name}")).collect();
            let contained = git.lines_from(&["rev-list", "--stdin"], &tips)?;
            let contained: HashSet<&str> = contained.iter().map(String::as_str).collect();
            let oldest_first =
                commits.iter().rev().filter(|commit| contained.contains(commit.as_str()));
            oldest_first.map(|commit| json!({"ref": commit})).collect()
        }
    };
    // Continuing from a version returns all that followed it, unless a depth is asked for.
    let depth = source.version_depth.or_else(|| since.is_none().then_some(1));
    if let Some(depth) = depth {
        let extra = versions.len().saturating_sub(depth as usize);
        versions.drain(..extra);
    }
    Ok(versions)
}

/// The names of the matching tags, oldest first.
fn tag_names(
    git: &Git<'_>,
    source: &Source,
    rule: &TagRule,
    since: Option<&Since>,
) -> anyhow::Result<Vec<String>> {
    let mut args: Vec<String> = vec!["tag".into(), "--sort=creatordate".into()];
    if let Some(branch) = &source.branch {
        args.extend(since.map(|since| format!("--contains={}", since.commit)));
        args.push(format!("--merged=refs/heads/{branch}"));
    }
    args.push("--list".into());
    if let TagRule::Glob(glob) = rule {
        args.extend(["--".to_owned(), glob.clone()]);
    }
    let mut names = git.lines(&args)?;
    if let TagRule::Regex(regex) = rule {
        names.retain(|name| regex.is_match(name));
    }
    // Without a branch tags have no order but their age: continue with the given one.
    if let (None, Some(since)) = (&source.branch, since)
        && source.tag_behaviour == TagBehaviour::MatchTagged
    {
        let from = names.iter().position(|name| *name == since.name).unwrap_or(names.len());
        names.drain(..from);
    }
    Ok(names)
}
