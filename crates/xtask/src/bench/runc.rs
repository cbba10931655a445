//! The peer: the same process in the same root file system, by a bare `runc run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::figures::millis;
use super::stage::until;

/// A bundle that prints the time.
pub(super) struct Runc {
    bundle: PathBuf,
    count: AtomicU64,
}

/// One run, in milliseconds.
pub(super) struct Run {
    /// Until the process had started.
    pub(super) started: f64,
    /// Until everything was cleared away.
    pub(super) whole: f64,
}

impl Runc {
    pub(super) fn new(bundle: &Path, rootfs: &Path) -> Result<Self, String> {
        let runc = Self { bundle: bundle.to_owned(), count: AtomicU64::new(0) };
        runc.make(rootfs).map_err(|error| format!("{error:#}"))?;
        runc.run().map_err(|error| format!("{error:#}"))?;
        Ok(runc)
    }

    fn make(&self, rootfs: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.bundle)?;
        let copied = Command::new("cp").arg("-a").args([rootfs, &self.bundle]).output()?;
        anyhow::ensure!(copied.status.success(), "cp failed: {}", said(&copied));
        let spec = Command::new("runc")
            .args(["spec", "--bundle"])
            .arg(&self.bundle)
            .output()
            .context("start runc")?;
        anyhow::ensure!(spec.status.success(), "runc spec failed: {}", said(&spec));
        let path = self.bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/date", "+%s%N"]);
        config["root"]["readonly"] = json!(false);
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(())
    }

    pub(super) fn run(&self) -> anyhow::Result<Run> {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let (begin, clock) = (SystemTime::now(), Instant::now());
        let output = Command::new("runc")
            .arg("run")
            .arg("--bundle")
            .arg(&self.bundle)
            .arg(format!("jetbridge-bench-{}-{n}", std::process::id()))
            .output()
            .context("start runc")?;
        let whole = millis(clock.elapsed());
        anyhow::ensure!(output.status.success(), "runc run failed: {}", said(&output));
        let started = until(begin, &String::from_utf8_lossy(&output.stdout))?;
        Ok(Run { started, whole })
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
