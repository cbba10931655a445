//! The contract that every runtime keeps, with the real runner.

use std::path::PathBuf;
use std::process::Command;

use jb_runtime::Image;
use jb_runtime::conformance::{Subject, run_all};

use crate::machine::{Machine, root};

/// Builds the runner as it is shipped: without a need for libraries.
fn real_runner() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("static");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "jb-runner", "--target", &triple, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .unwrap();
    assert!(status.success());
    target.join(triple).join("debug/jb-runner")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_runtime_conforms() {
    if !root() {
        return;
    }
    let machine = Machine::with_runner(real_runner());
    let busybox = Image::Volume(machine.busybox("busybox", "{}").await);
    for (prefix, image) in [("host", &Image::Host), ("image", &busybox)] {
        let subject = Subject { runtime: machine.runtime(), image, prefix };
        run_all(subject).await.unwrap_or_else(|failure| panic!("{prefix}: {failure}"));
    }
}
