//! Programs built from their Go modules, once for a machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};

/// Whether there is a Go to build with.
pub(crate) fn is_here() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}

/// Builds `module`, a path with its version, as `program`. A build that is cut off leaves nothing of that name.
pub(crate) fn install(module: &str, program: &Path) -> anyhow::Result<()> {
    let name = program.file_name().with_context(|| format!("{} is no file", program.display()))?;
    let partial = program.with_extension("partial");
    let mut command = Command::new("go");
    command
        .args(["install", "-ldflags", "-s -w", module])
        .env("GOBIN", &partial)
        .env("CGO_ENABLED", "0");
    told(module, || ran(&mut command))?;
    fs::rename(partial.join(name), program)
        .with_context(|| format!("write {}", program.display()))?;
    fs::remove_dir(&partial).with_context(|| format!("remove {}", partial.display()))
}

/// Says what is being built, and how long it took.
pub(crate) fn told(what: &str, build: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    eprintln!("building {what}, once for this machine; it takes minutes");
    let begin = Instant::now();
    build()?;
    eprintln!("built {what} in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Runs a command that must succeed.
pub(crate) fn ran(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Finds a program at `path`, or has it built there from the modules that `what` names.
pub(crate) fn kept(
    what: &str,
    path: &Path,
    build: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let dir = path.parent().context("a program has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    // Of two that build at once, the second waits and finds it there.
    let lock = fs::File::create(dir.join("lock")).context("lock the cache of programs")?;
    lock.lock().context("lock the cache of programs")?;
    if path.exists() {
        return Ok(());
    }
    if !is_here() {
        bail!("building {what} takes Go, which is missing");
    }
    build(path)
}
