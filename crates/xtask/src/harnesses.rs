//! The command lines of others that can be an agent's harness: one version of each, from npm, kept in the cache directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use jb_agent_protocol::CommandLine;
use sha2::{Digest as _, Sha512};

use crate::go::ran;
use crate::images::archive::architecture;
use crate::images::recipe::{Recipe, Source};

/// Installs those that are missing; returns their files in the order of [`CommandLine::ALL`].
pub(crate) fn install_all() -> anyhow::Result<Vec<PathBuf>> {
    CommandLine::ALL.iter().map(install).collect()
}

/// The file of a harness's program, installed if it was missing.
pub(crate) fn install(line: &CommandLine) -> anyhow::Result<PathBuf> {
    let recipe = Recipe::read(&Recipe::file(&format!("jetbridge-{}", line.name)))?;
    let source = recipe.npm.iter().find(|source| source.architecture == architecture());
    let source =
        source.with_context(|| format!("no {} for {} is known", line.name, architecture()))?;
    // A version has a place of its own.
    let cache = crate::images::cache()?.join("harnesses");
    let dir = cache.join(format!("{}-{}", line.program, line.version));
    let file = dir.join(line.program);
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    // Of two that install at once, the second waits and finds it there.
    let lock = File::create(cache.join("lock")).context("lock the cache of harnesses")?;
    lock.lock().context("lock the cache of harnesses")?;
    if !file.exists() {
        fetch(source, &cache, &dir, &file).with_context(|| format!("install {}", line.name))?;
    }
    Ok(file)
}

fn fetch(source: &Source, cache: &Path, dir: &Path, file: &Path) -> anyhow::Result<()> {
    eprintln!("downloading {}", source.package);
    let work = tempfile::tempdir_in(cache)?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]);
    let output = npm.arg(work.path()).arg(&source.package).output().context("start npm")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("npm cannot fetch {}: {}", source.package, said.trim());
    }
    let packed = fs::read_dir(work.path())?.next().context("npm fetched nothing")??.path();
    let digest = Sha512::digest(fs::read(&packed)?);
    let integrity = format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(digest));
    if integrity != source.integrity {
        bail!("{} is {integrity}, not {}", source.package, source.integrity);
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&packed).arg("-C").arg(work.path()).arg(&source.program);
    ran(&mut tar)?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    fs::rename(work.path().join(&source.program), file)
        .with_context(|| format!("write {}", file.display()))
}
