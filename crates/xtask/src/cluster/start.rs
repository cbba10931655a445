//! Starts a cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cluster::configuration::{self, PAUSE_IMAGE};
use crate::cluster::place::{NODE, Place};
use crate::cluster::programs::Programs;
use crate::cluster::{NetworkPolicy, certificates, kubectl_ok, objects, processes, sweep, wires};
use crate::images::archive::{Run, write as write_archive};
use crate::images::packages::Packages;
use crate::images::recipes;
use crate::images::tree::Tree;

/// Longest wait for any one component.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn up(place: &Place, network_policy: NetworkPolicy) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a cluster needs root: it makes network namespaces, control groups and mounts");
    }
    if running(place) {
        return Ok(());
    }
    super::build()?;
    let programs = Programs::built()?;
    let begin = Instant::now();
    sweep::down(place)?;
    directories(place)?;
    certificates::write(place)?;
    for (name, content) in configuration::files(place, &programs, network_policy) {
        let path = place.dir.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    control_groups(place)?;
    wires::lay(place)?;
    for component in configuration::foundation(place, &programs) {
        processes::start(place, &programs, &component)?;
    }
    wait(place, "containerd", || {
        programs.ctr(place).arg("version").output().is_ok_and(|output| output.status.success())
    })?;
    images(place, &programs)?;
    let ready = readiness(place)?;
    wait(place, "apiserver", || ready.answers())?;
    let kubelet_needs = place.policy_socket();
    for component in configuration::controllers(place, &programs, network_policy) {
        if component.name == "kubelet" && network_policy == NetworkPolicy::Enforced {
            wait(place, "network-policy", || kubelet_needs.exists())?;
        }
        processes::start(place, &programs, &component)?;
    }
    objects::create(place, &programs)?;
    let kubectl = |arguments: &[&str]| kubectl_ok(place, &programs, arguments);
    let node = format!("node/{NODE}");
    kubectl(&["wait", "--for=create", &node, "--timeout=60s"])?;
    kubectl(&["wait", "--for=condition=Ready", &node, "--timeout=60s"])?;
    kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=60s"])?;
    eprintln!("the cluster is ready after {} ms", begin.elapsed().as_millis());
    Ok(())
}

pub(super) fn running(place: &Place) -> bool {
    processes::alive(place, "kubelet") && readiness(place).is_ok_and(|ready| ready.answers())
}

fn directories(place: &Place) -> anyhow::Result<()> {
    for (name, mode) in [
        ("", 0o711),
        ("run", 0o700),
        ("log", 0o700),
        ("cni", 0o700),
        ("etcd", 0o700),
        // Pods in user namespaces pass through these.
        ("containerd", 0o711),
        ("containerd/root", 0o711),
        ("containerd/state", 0o711),
        ("volumes", 0o711),
        ("registries", 0o755),
    ] {
        let path = place.dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Makes the pods' common group in every hierarchy; the kubelet wants to find it.
fn control_groups(place: &Place) -> anyhow::Result<()> {
    for root in sweep::cgroup_roots() {
        let group = root.join(place.cgroup());
        fs::create_dir_all(&group).with_context(|| format!("create {}", group.display()))?;
        // The first version's sets of processors and memory begin empty, and then take no process.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (own, above) = (group.join(file), root.join(file));
            let is_empty = fs::read_to_string(&own).is_ok_and(|content| content.trim().is_empty());
            if is_empty && let Ok(all) = fs::read_to_string(&above) {
                fs::write(&own, all).with_context(|| format!("write {}", own.display()))?;
            }
        }
    }
    Ok(())
}

/// The images that are there without any registry.
fn images(place: &Place, programs: &Programs) -> anyhow::Result<()> {
    let write = |file: &str, name: &str, run: &Run<'_>, tree: &Tree| -> anyhow::Result<PathBuf> {
        let path = place.dir.join(file);
        write_archive(&path, name, run, tree)?;
        Ok(path)
    };
    let mut pause = Tree::default();
    let program =
        fs::read(&programs.pause).with_context(|| format!("read {}", programs.pause.display()))?;
    pause.file("pause", 0o755, program);
    let run = Run { user: "65535:65535", entrypoint: &["/pause"], ..Run::default() };
    let pause = write("pause.tar", PAUSE_IMAGE, &run, &pause)?;

    let mut busybox = Tree::root();
    let packages = Packages::new(&crate::images::cache()?)?;
    packages.add(&mut busybox, &["busybox-static"], &[])?;
    recipes::busybox(&mut busybox)?;
    recipes::users(&mut busybox, &[]);
    let run = Run { cmd: &["sh"], ..Run::default() };
    let busybox = write("busybox.tar", "docker.io/library/busybox:latest", &run, &busybox)?;
    super::import(place, programs, &[pause, busybox])
}

fn wait(place: &Place, component: &str, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
    let outcome = processes::until(PATIENCE, || {
        if !processes::alive(place, component) {
            return Some(false);
        }
        is_ready().then_some(true)
    });
    let log = place.log(component);
    match outcome {
        Some(true) => Ok(()),
        Some(false) => bail!("{component} has ended; it said last:\n{}", last_lines(&log)),
        None => bail!(
            "{component} is not ready after {} s; it said last:\n{}",
            PATIENCE.as_secs(),
            last_lines(&log)
        ),
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Asks the API server whether it is ready.
struct Readiness {
    client: reqwest::Client,
    url: String,
    runtime: tokio::runtime::Runtime,
}

fn readiness(place: &Place) -> anyhow::Result<Readiness> {
    let authority = place.pki("ca.crt");
    let pem = fs::read(&authority).with_context(|| format!("read {authority}"))?;
    // Every HTTPS-capable client needs a provider; another may have set it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem)?])
        .timeout(Duration::from_secs(2))
        .no_proxy()
        .build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(Readiness { client, url: format!("{}/readyz", place.server()), runtime })
}

impl Readiness {
    fn answers(&self) -> bool {
        // The client's clock belongs to the runtime: the request is made inside it.
        let answer = self.runtime.block_on(async { self.client.get(&self.url).send().await });
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}
