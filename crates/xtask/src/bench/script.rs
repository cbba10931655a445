//! A resource's script without a container: the floor of checks.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;

use super::figures::millis;

/// Milliseconds that the check of a built-in type takes on this machine.
pub(super) fn check_alone(program: &Path, kind: &str, request: &Value) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args([kind, "check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    child.stdin.take().context("no stdin")?.write_all(request.to_string().as_bytes())?;
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "the check on this machine failed: {status}");
    Ok(millis(begin.elapsed()))
}
