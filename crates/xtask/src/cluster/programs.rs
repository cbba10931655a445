//! The programs a cluster is made of, built once per machine and kept in the cache directory.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::cluster::place::Place;
use crate::go::{ran, told};
use crate::images::packages::Packages;

const CONTAINERD: &str = "v2.2.9";
const RUNC: &str = "v1.4.3";
/// Network plugins from packages.
const PLUGINS: &[&str] = &["host-local", "loopback", "portmap", "ptp"];
/// Parts of containerd that need libraries and serve file systems no test uses.
const CONTAINERD_TAGS: &str = "no_btrfs,no_devmapper,no_zfs";

pub(crate) struct Programs {
    /// All components of Kubernetes in one.
    pub(crate) kubernetes: PathBuf,
    /// The server of names.
    pub(crate) dns: PathBuf,
    /// The directory of containerd, its shim and `ctr`.
    pub(crate) containerd: PathBuf,
    pub(crate) runc: PathBuf,
    pub(crate) etcd: PathBuf,
    /// The directory of network plugins.
    pub(crate) plugins: PathBuf,
    /// The first process of every pod.
    pub(crate) pause: PathBuf,
}

impl Programs {
    fn at(cache: &Path, sources: &str) -> Self {
        let own = cache.join(format!("kubernetes-{sources}"));
        Self {
            kubernetes: own.join("kubernetes"),
            dns: own.join("dns"),
            containerd: cache.join(format!("containerd-{CONTAINERD}")),
            runc: cache.join(format!("runc-{RUNC}/runc")),
            etcd: cache.join("etcd"),
            plugins: own.join("plugins"),
            pause: own.join("pause"),
        }
    }

    /// The programs as they were built before.
    pub(crate) fn built() -> anyhow::Result<Self> {
        let programs = Self::at(&cache()?, &sources_digest()?);
        match programs.missing() {
            Some(path) => bail!("{} is missing; run `cargo xtask cluster build`", path.display()),
            None => Ok(programs),
        }
    }

    fn missing(&self) -> Option<PathBuf> {
        let plugins = PLUGINS.iter().map(|plugin| self.plugins.join(plugin));
        let own = [
            self.kubernetes.clone(),
            self.dns.clone(),
            self.containerd.join("containerd"),
            self.containerd.join("containerd-shim-runc-v2"),
            self.containerd.join("ctr"),
            self.runc.clone(),
            self.etcd.clone(),
            self.plugins.join("network-policy-attach"),
            self.pause.clone(),
        ];
        own.into_iter().chain(plugins).find(|path| !path.exists())
    }

    /// containerd's client, in the namespace the kubelet uses.
    pub(crate) fn ctr(&self, place: &Place) -> Command {
        let mut command = Command::new(self.containerd.join("ctr"));
        command.arg("--address").arg(place.containerd_socket()).args(["--namespace", "k8s.io"]);
        command
    }
}

/// Why no cluster can be built here; None when it can.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !crate::go::is_here() {
        return Some("Go is missing");
    }
    let apt = Command::new("apt-get").arg("--version").output();
    if !apt.is_ok_and(|output| output.status.success()) {
        return Some("this is no Debian, whose packages bring etcd and the network plugins");
    }
    None
}

/// Builds what is missing.
pub(crate) fn build() -> anyhow::Result<Programs> {
    if let Some(obstacle) = obstacle() {
        bail!("a cluster cannot be built here: {obstacle}");
    }
    let cache = cache()?;
    // Of two that build at once, the second waits and finds everything there.
    let lock = File::create(cache.join("lock")).context("lock the cache of the cluster")?;
    lock.lock().context("lock the cache of the cluster")?;
    let sources = sources_digest()?;
    let programs = Programs::at(&cache, &sources);
    if programs.missing().is_none() {
        return Ok(programs);
    }
    let plugins = PLUGINS.iter().map(|plugin| programs.plugins.join(plugin));
    if std::iter::once(programs.etcd.clone()).chain(plugins).any(|path| !path.exists()) {
        from_packages(&programs)?;
    }
    if !programs.pause.exists() {
        pause(&programs.pause)?;
    }
    containerd(&programs)?;
    kubernetes(&programs)?;
    match programs.missing() {
        Some(path) => bail!("after building, {} is missing", path.display()),
        None => Ok(programs),
    }
}

fn cache() -> anyhow::Result<PathBuf> {
    let dir = crate::images::cache()?.join("cluster");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// The Go module of the components.
fn sources() -> PathBuf {
    crate::server::root().join("crates/xtask/cluster")
}

/// Names a state of the sources: a change of them leads to a new build.
fn sources_digest() -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for name in [
        "attach/main.go",
        "dns/main.go",
        "go.mod",
        "go.sum",
        "main.go",
        "pause.c",
        "policy/command.go",
        "policy/rules.go",
    ] {
        let path = sources().join(name);
        hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(crate::images::hex(&hash.finalize()[..6]))
}

/// etcd and the plugins that connect pods, without installing anything on this machine.
fn from_packages(programs: &Programs) -> anyhow::Result<()> {
    let packages = Packages::new(&crate::images::cache()?)?;
    let tree = packages.alone(&["containernetworking-plugins", "etcd-server"])?;
    let executable = |from: &str, to: &Path| -> anyhow::Result<()> {
        let content = tree.content(from).with_context(|| format!("no package holds {from}"))?;
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        // One that runs in another cluster is replaced by name, never written over.
        let partial = to.with_extension("partial");
        fs::write(&partial, content).with_context(|| format!("write {}", partial.display()))?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
        fs::rename(&partial, to).with_context(|| format!("write {}", to.display()))
    };
    executable("usr/bin/etcd", &programs.etcd)?;
    for plugin in PLUGINS {
        executable(&format!("usr/lib/cni/{plugin}"), &programs.plugins.join(plugin))?;
    }
    Ok(())
}

fn pause(path: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("cc");
    command.args(["-static", "-Os", "-s", "-o"]).arg(path).arg(sources().join("pause.c"));
    ran(&mut command)
}

fn containerd(programs: &Programs) -> anyhow::Result<()> {
    if !programs.containerd.join("ctr").exists() {
        told(&format!("containerd {CONTAINERD}"), || {
            let module = "github.com/containerd/containerd/v2/cmd";
            let mut command = Command::new("go");
            command
                .args(["install", "-tags", CONTAINERD_TAGS, "-ldflags", "-s -w"])
                .args(
                    ["containerd", "containerd-shim-runc-v2", "ctr"]
                        .map(|name| format!("{module}/{name}@{CONTAINERD}")),
                )
                .env("GOBIN", &programs.containerd)
                .env("CGO_ENABLED", "0");
            ran(&mut command)
        })?;
    }
    if !programs.runc.exists() {
        told(&format!("runc {RUNC}"), || {
            let mut command = Command::new("go");
            command
                .args(["install", "-tags", "seccomp", "-ldflags", "-s -w"])
                .arg(format!("github.com/opencontainers/runc@{RUNC}"))
                .env("GOBIN", programs.runc.with_file_name(""))
                .env("CGO_ENABLED", "1");
            ran(&mut command)
        })?;
    }
    Ok(())
}

fn kubernetes(programs: &Programs) -> anyhow::Result<()> {
    let attach = programs.plugins.join("network-policy-attach");
    if !attach.exists() {
        go_build(&attach, "./attach", "-s -w")?;
    }
    if programs.kubernetes.exists() && programs.dns.exists() {
        return Ok(());
    }
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"])
        .current_dir(sources())
        .output()
        .context("start go")?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Some(minor) = version.split('.').nth(1) else {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("go names no version of Kubernetes: {}", said.trim());
    };
    let variables = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {variables}.gitVersion={version} -X {variables}.gitMajor=1 -X {variables}.gitMinor={minor}"
    );
    told(&format!("Kubernetes {version}"), || {
        go_build(&programs.kubernetes, ".", &flags)?;
        go_build(&programs.dns, "./dns", "-s -w")
    })
}

fn go_build(program: &Path, package: &str, flags: &str) -> anyhow::Result<()> {
    // A build that is cut off leaves nothing under the program's name.
    let partial = program.with_extension("partial");
    let mut command = Command::new("go");
    command
        .args(["build", "-ldflags", flags, "-o"])
        .arg(&partial)
        .arg(package)
        .current_dir(sources())
        .env("CGO_ENABLED", "0");
    ran(&mut command)?;
    fs::rename(&partial, program).with_context(|| format!("write {}", program.display()))
}
