//! Installs what the tests need, where that is possible, and says aloud what it could not.

use std::process::Command;

/// A tool the tests use.
struct Tool {
    /// What it is for, as the report says.
    what: &'static str,
    /// Any one of these files or commands shows that it is there.
    found_by: &'static [&'static str],
    /// Its Debian package.
    package: &'static str,
}

/// What the measurements need beside what is built.
const PEERS: &[Tool] = &[
    Tool {
        what: "busybox (the measured image)",
        found_by: &["/bin/busybox"],
        package: "busybox-static",
    },
    Tool { what: "runc (the floor beside our containers)", found_by: &["runc"], package: "runc" },
    Tool { what: "zstd (the floor beside our artifacts)", found_by: &["zstd"], package: "zstd" },
];

/// What the tests need.
const TOOLS: &[Tool] = &[
    Tool { what: "git", found_by: &["git"], package: "git" },
    Tool {
        what: "PostgreSQL server (the store's tests on PostgreSQL)",
        found_by: &[
            "/usr/lib/postgresql/15/bin/initdb",
            "/usr/lib/postgresql/16/bin/initdb",
            "/usr/lib/postgresql/17/bin/initdb",
            "initdb",
        ],
        package: "postgresql",
    },
    Tool {
        what: "an OCI registry (tests of images)",
        found_by: &["docker-registry"],
        package: "docker-registry",
    },
    Tool {
        what: "busybox (root file systems of test images)",
        found_by: &["/bin/busybox", "busybox"],
        package: "busybox-static",
    },
    Tool {
        what: "iptables (containers' way out)",
        found_by: &["/usr/sbin/iptables", "/usr/sbin/nft", "iptables", "nft"],
        package: "iptables",
    },
];

/// What a cluster needs besides Go and the packages it unpacks for itself.
const CLUSTER_TOOLS: &[Tool] = &[
    Tool { what: "a C compiler", found_by: &["cc"], package: "gcc" },
    Tool {
        what: "pkg-config (finding libraries)",
        found_by: &["pkg-config"],
        package: "pkg-config",
    },
    Tool {
        what: "libseccomp's headers (building runc)",
        found_by: &["/usr/include/seccomp.h"],
        package: "libseccomp-dev",
    },
    Tool {
        what: "ip (the node's network)",
        found_by: &["/usr/sbin/ip", "/sbin/ip", "ip"],
        package: "iproute2",
    },
    Tool {
        what: "iptables (services and pods' way out)",
        found_by: &["/usr/sbin/iptables", "iptables"],
        package: "iptables",
    },
    Tool {
        what: "nft (the node's way out, network policies)",
        found_by: &["/usr/sbin/nft", "nft"],
        package: "nftables",
    },
];

/// Installs what the tests need and is missing; returns the packages that still are.
pub(crate) fn tools() -> Vec<&'static str> {
    let missing = install(TOOLS);
    for tool in &missing {
        println!(
            "MISSING: {}; its tests are skipped. Install the package `{}` to run them.",
            tool.what, tool.package
        );
    }
    missing.into_iter().map(|tool| tool.package).collect()
}

/// Installs what the measurements miss, and says what they still do.
pub(crate) fn peers() {
    for tool in install(PEERS) {
        println!("MISSING: {}. Install the package `{}`.", tool.what, tool.package);
    }
}

/// Installs what a cluster needs.
pub(crate) fn cluster_tools() -> anyhow::Result<()> {
    if let Some(tool) = install(CLUSTER_TOOLS).first() {
        anyhow::bail!("a cluster needs {}; install the package `{}`", tool.what, tool.package);
    }
    Ok(())
}

/// Installs what is missing; returns what still is.
fn install(tools: &'static [Tool]) -> Vec<&'static Tool> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !present(tool)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    if can_install() {
        eprintln!("installing {}", packages.join(", "));
        // A stale package list is the usual reason for a failure, so it is read anew first.
        let _ = Command::new("apt-get").args(["-qq", "update"]).status();
        let status = Command::new("apt-get")
            .args(["-qq", "install", "--yes", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // What it says is not this command's answer.
            .stdout(std::io::stderr())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("apt-get could not install all of them");
        }
    }
    missing.into_iter().filter(|tool| !present(tool)).collect()
}

fn present(tool: &Tool) -> bool {
    tool.found_by.iter().any(|name| {
        if name.starts_with('/') { std::path::Path::new(name).exists() } else { on_path(name) }
    })
}

pub(crate) fn on_path(command: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(command).is_file()))
}

/// Packages are installed on Debian and its kin, by root.
fn can_install() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && on_path("apt-get")
}
