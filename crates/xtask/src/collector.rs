//! The OpenTelemetry Collector of the tests, built once per machine from its Go modules and kept in the cache directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::go;

/// Of the modules that `collector/go.mod` pins.
const VERSION: &str = "v0.162.0";

const SOURCE: [(&str, &str); 3] = [
    ("main.go", include_str!("collector/main.go")),
    ("go.mod", include_str!("collector/go.mod")),
    ("go.sum", include_str!("collector/go.sum")),
];

/// Builds it when it is missing; returns where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let program = crate::images::cache()?.join(format!("collector/collector-{VERSION}"));
    go::kept("an OpenTelemetry Collector", &program, compile)?;
    Ok(program)
}

fn compile(program: &Path) -> anyhow::Result<()> {
    let dir = program.parent().context("a program has a directory")?;
    let work = tempfile::tempdir_in(dir)?;
    for (name, text) in SOURCE {
        let file = work.path().join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let built = work.path().join("collector");
    let mut command = Command::new("go");
    command
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&built)
        .current_dir(work.path())
        .env("CGO_ENABLED", "0");
    go::told("an OpenTelemetry Collector", || go::ran(&mut command))?;
    fs::rename(&built, program).with_context(|| format!("write {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_pinned() {
        let pinned = format!("go.opentelemetry.io/collector/otelcol {VERSION}\n");
        assert!(SOURCE[1].1.contains(&pinned));
    }
}
