//! Submodules of a checked-out version.

use crate::git::command::Git;
use crate::git::fetch::params::{Params, Submodules};
use crate::git::session::Session;
use crate::git::source::Source;
use crate::log::Log;

/// Fetches and checks out the submodules the params ask for.
pub(super) fn update(
    git: &Git<'_>,
    source: &Source,
    params: &Params,
    log: &Log,
) -> anyhow::Result<()> {
    if params.submodules == Submodules::None || !git.dir().join(".gitmodules").is_file() {
        return Ok(());
    }
    git.run(&["submodule", "sync"])?;
    for (name, path) in listed(git)? {
        if !params.submodules.contains(&path) {
            continue;
        }
        if !git.dir().join(&path).exists() {
            log.warn(&format!("skipping missing submodule: {path}"));
            continue;
        }
        let url = git.line(&[
            "config",
            "--file",
            ".gitmodules",
            "--get",
            &format!("submodule.{name}.url"),
        ])?;
        match source.access.submodule_keys.iter().find(|(address, _)| *address == url) {
            Some((_, key)) => {
                let session = Session::with_key(&source.access, &source.uri, key)?;
                update_one(&git.with_session(&session), params, &path, log)?;
            }
            None => update_one(git, params, &path, log)?,
        }
    }
    Ok(())
}

fn update_one(git: &Git<'_>, params: &Params, path: &str, log: &Log) -> anyhow::Result<()> {
    let depth = params.depth.map(|depth| format!("--depth={depth}"));
    let command = |depth: Option<&str>| {
        let mut args =
            vec!["submodule".to_owned(), "update".into(), "--init".into(), "--no-fetch".into()];
        args.extend(depth.map(str::to_owned));
        args.extend(params.submodule_remote.then(|| "--remote".into()));
        args.extend(params.submodule_recursive.then(|| "--recursive".into()));
        args.extend(["--".into(), path.to_owned()]);
        args
    };
    if let Some(depth) = &depth {
        if git.heard(&command(Some(depth)))?.0 {
            return Ok(());
        }
        log.info(&format!(
            "submodule {path} is not within {depth} of its branch; fetching all of its history"
        ));
        let _ = git.heard(&["-C", path, "fetch", "--unshallow", "origin"])?;
    }
    git.run(&command(None))
}

/// Name and path of each submodule.
fn listed(git: &Git<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let args = ["config", "--file", ".gitmodules", "-z", "--get-regexp", r"^submodule\..*\.path$"];
    if !git.succeeds(&args)? {
        return Ok(Vec::new());
    }
    let listing = git.output(&args, b"")?;
    let listing = String::from_utf8_lossy(&listing);
    let entries = listing.split('\0').filter_map(|entry| entry.split_once('\n'));
    let named = entries.filter_map(|(key, path)| {
        let name = key.strip_prefix("submodule.")?.strip_suffix(".path")?;
        Some((name.to_owned(), path.to_owned()))
    });
    Ok(named.collect())
}
