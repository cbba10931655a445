//! Builds the programs that run inside containers, statically, and puts them into this binary,
//! compressed: together they are a third of their size then.
//!
//! They are built by a cargo of their own with a target directory of their own, so that they never
//! wait for the build they are part of.

#![expect(clippy::panic, reason = "a build script fails by panicking")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 3] = ["jb-runner", "jb-resources", "jb-agent"];
/// What a change of must lead to a new build of the programs.
const WATCHED: [&str; 7] =
    ["runner", "runner-protocol", "resources", "oci", "model", "agent", "agent-protocol"];

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    for name in WATCHED {
        println!("cargo::rerun-if-changed={}", root.join("crates").join(name).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    let target = variable("TARGET");
    // Beside the profile's directory, so that `cargo clean` removes it and profiles share it.
    let built = out.ancestors().nth(4).unwrap_or(&out).join("embedded");
    let profile = if variable("PROFILE") == "release" { "embedded" } else { "dev" };
    let status = Command::new(variable("CARGO"))
        .current_dir(&root)
        .args(["build", "--quiet", "--locked", "--profile", profile, "--target", &target])
        .args(PROGRAMS.iter().flat_map(|program| ["--package", program]))
        .arg("--target-dir")
        .arg(&built)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "building {PROGRAMS:?} for containers failed: {status:?}"
    );
    let profile_dir = if profile == "dev" { "debug" } else { profile };
    for program in PROGRAMS {
        let from = built.join(&target).join(profile_dir).join(program);
        let to = out.join(program).with_extension("zst");
        // Small where it is kept, quick where it is built again and again.
        let level = if profile == "dev" { 1 } else { 19 };
        if let Err(error) = compress(&from, &to, level) {
            panic!("compress {} to {}: {error}", from.display(), to.display());
        }
    }
}

fn compress(from: &Path, to: &Path, level: i32) -> std::io::Result<()> {
    zstd::stream::copy_encode(File::open(from)?, File::create(to)?, level)
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
