//! Installs JetBridge on a cluster as its users do, runs a pipeline through its service, and uninstalls it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::directory;
use crate::api::Api;
use crate::cluster::place::Place;
use crate::cluster::programs::Programs;
use crate::cluster::{self, processes};
use crate::deploy::tools::Tools;
use crate::{demo, images};

#[derive(Args)]
pub(crate) struct Options {
    /// How it is installed
    #[arg(long, value_enum, default_value = "helm")]
    by: Way,
    /// Keep it until Ctrl-C, with its service at a port of this machine
    #[arg(long)]
    keep: bool,
    /// Use the images that the cluster has, instead of assembling and loading them
    #[arg(long)]
    loaded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    Helm,
    Kustomize,
}

/// The release and its namespace, which the Kustomize base has, too.
const NAME: &str = "jetbridge";
const STEPS: &str = "jetbridge-steps";
/// Marks the namespace as ours to remove.
const MARK: &str = "jetbridge.dev/trial";
const USER: &str = "admin";
/// Longest wait for pods to become ready.
const INSTALLED: &str = "180s";
/// Longest wait for the pipeline's two builds.
const GREEN: Duration = Duration::from_secs(300);
/// Longest wait until what was deleted is gone: a database ends in order.
const GONE: Duration = Duration::from_secs(120);

pub(crate) fn run(options: &Options, place: &Place) -> anyhow::Result<()> {
    let trial =
        Trial { place, programs: Programs::built()?, tools: crate::deploy::tools::build()? };
    trial.kubectl(&["get", "--raw", "/readyz"]).with_context(|| {
        format!(
            "no cluster runs in {}: start one with `cargo xtask cluster up`",
            place.dir.display()
        )
    })?;
    // Of two trials on one cluster, the second waits.
    let path = place.dir.join("trial.lock");
    let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    lock.lock().with_context(|| format!("lock {}", path.display()))?;
    if !options.loaded {
        trial.load()?;
    }
    trial.clear(options.by)?;
    let password = password()?;
    trial.prepare(&password)?;
    let begin = Instant::now();
    trial.install(options.by)?;
    println!("installed by {:?}: ready after {} ms", options.by, begin.elapsed().as_millis());
    if let Err(error) = trial.pipeline(&password, options.keep) {
        println!("{}", trial.diagnosis());
        return Err(
            error.context(format!("what was installed stays in the namespaces {NAME} and {STEPS}"))
        );
    }
    trial.uninstall(options.by)?;
    trial.nothing_is_left()?;
    trial.kubectl(&["delete", "namespace", NAME])?;
    println!("uninstalled: nothing is left");
    Ok(())
}

/// 32 characters that nobody knows.
fn password() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("make a password")?;
    Ok(images::hex(&bytes))
}

struct Trial<'a> {
    place: &'a Place,
    programs: Programs,
    tools: Tools,
}

impl Trial<'_> {
    /// Runs `kubectl` with arguments that must succeed; returns what it says.
    fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        said(cluster::kubectl(self.place, &self.programs).args(arguments))
    }

    fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        said(super::helm(self.place, &self.tools).args(["--namespace", NAME]).args(arguments))
    }

    /// Does with the Kustomize overlay's objects what `arguments` of kubectl say.
    fn overlay(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut kustomize = Command::new(&self.tools.kustomize);
        let objects = said(kustomize.arg("build").arg(directory("kustomize/overlays/local")))?;
        self.feed(arguments, &objects)
    }

    fn feed(&self, arguments: &[&str], objects: &str) -> anyhow::Result<()> {
        let mut child = cluster::kubectl(self.place, &self.programs)
            .args(arguments)
            .args(["--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(objects.as_bytes()).context("tell kubectl")?;
        }
        ensure!(child.wait()?.success(), "kubectl {} failed", arguments.join(" "));
        Ok(())
    }

    fn load(&self) -> anyhow::Result<()> {
        let archives = images::assemble(&images::Options::local())?;
        cluster::load(&self.place.dir, &archives)
    }

    /// Removes what an earlier trial left, and nothing of anybody else.
    fn clear(&self, by: Way) -> anyhow::Result<()> {
        let found =
            self.kubectl(&["get", "namespace", NAME, "--ignore-not-found", "-o", "json"])?;
        if found.is_empty() {
            return Ok(());
        }
        let found: Value = serde_json::from_str(&found)?;
        if found["metadata"]["labels"][MARK].is_null() {
            bail!(
                "the namespace {NAME} is not from a trial: remove it, or use another cluster (--dir)"
            );
        }
        match by {
            Way::Helm => {
                self.helm(&["uninstall", NAME, "--ignore-not-found", "--wait"]).map(drop)?
            }
            Way::Kustomize => self.overlay(&["delete", "--ignore-not-found"])?,
        }
        self.kubectl(&["delete", "namespace", NAME, STEPS, "--ignore-not-found"]).map(drop)
    }

    /// What users make themselves: the namespace and the secret.
    fn prepare(&self, password: &str) -> anyhow::Result<()> {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAME,
                "labels": {MARK: "true", "pod-security.kubernetes.io/enforce": "restricted"},
            },
        });
        self.feed(&["create"], &namespace.to_string())?;
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME, "namespace": NAME},
            "stringData": {
                "local-users": format!("{USER}:{password}"),
                "database-password": password,
                "encryption-key": password,
            },
        });
        self.feed(&["create"], &secret.to_string())
    }

    fn install(&self, by: Way) -> anyhow::Result<()> {
        match by {
            Way::Helm => {
                let chart = directory("chart");
                let values = chart.join("values-local.yaml");
                let (chart, values) = (chart.display().to_string(), values.display().to_string());
                let wait = ["--wait", "--timeout", INSTALLED];
                let install = ["install", NAME, &chart, "--values", &values];
                self.helm(&[&install[..], &wait].concat()).with_context(|| self.diagnosis())?;
                self.helm(&["test", NAME]).with_context(|| self.diagnosis())?;
            }
            Way::Kustomize => {
                self.overlay(&["apply"])?;
                for name in ["jetbridge-postgresql", "jetbridge-web"] {
                    let set = format!("statefulset/{name}");
                    let timeout = format!("--timeout={INSTALLED}");
                    self.kubectl(&["--namespace", NAME, "rollout", "status", &set, &timeout])
                        .with_context(|| self.diagnosis())?;
                }
            }
        }
        Ok(())
    }

    /// Runs the demo's pipeline, on a repository that this process serves.
    fn pipeline(&self, password: &str, keep: bool) -> anyhow::Result<()> {
        // Every HTTPS-capable client needs a provider; another may have set it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let way_in = WayIn::open(self)?;
        let dir = tempfile::tempdir().context("make a directory for the repository")?;
        tokio::runtime::Runtime::new()?.block_on(async {
            let api = Api::login(&way_in.url, USER, password).await?;
            let host = IpAddr::V4(self.place.host_address());
            let git = demo::serve_repository(dir.path(), host).await?;
            api.set_pipeline("demo", &demo::pipeline(&git.url("demo.git"))).await?;
            api.put("/teams/main/pipelines/demo/unpause").await?;
            tokio::time::timeout(GREEN, builds(&api))
                .await
                .with_context(|| format!("the builds do not end in {} s", GREEN.as_secs()))??;
            if keep {
                println!("fly -t trial login -c {} -u {USER} -p {password}", way_in.url);
                println!("Ctrl-C uninstalls it.");
                tokio::signal::ctrl_c().await?;
            }
            Ok(())
        })
    }

    fn uninstall(&self, by: Way) -> anyhow::Result<()> {
        match by {
            Way::Helm => self.helm(&["uninstall", NAME, "--wait"]).map(drop),
            Way::Kustomize => self.overlay(&["delete"]),
        }
    }

    fn nothing_is_left(&self) -> anyhow::Result<()> {
        let mut left = String::new();
        let gone = processes::until(GONE, || match self.left() {
            Ok(now) => {
                left = now;
                left.is_empty().then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        });
        gone.with_context(|| format!("uninstalling leaves this:\n{left}"))?
    }

    /// What is there besides what users made and what every namespace has.
    fn left(&self) -> anyhow::Result<String> {
        let kinds =
            self.kubectl(&["api-resources", "--verbs=list", "--namespaced", "-o", "name"])?;
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        let all = kinds.join(",");
        let ours = self.kubectl(&["--namespace", NAME, "get", &all, "-o", "name"])?;
        let known = ["configmap/kube-root-ca.crt", "secret/jetbridge", "serviceaccount/default"];
        let mut left: Vec<&str> = ours.lines().filter(|name| !known.contains(name)).collect();
        let steps =
            self.kubectl(&["get", "namespace", STEPS, "--ignore-not-found", "-o", "name"])?;
        left.extend(steps.lines());
        // Nothing of the cluster's own is ours, either.
        let label = format!("app.kubernetes.io/instance={NAME}");
        let wide = "clusterroles,clusterrolebindings,persistentvolumes,priorityclasses";
        let wide = self.kubectl(&["get", wide, "--selector", &label, "-o", "name"])?;
        left.extend(wide.lines());
        Ok(left.join("\n"))
    }

    /// What tells people why something did not work.
    fn diagnosis(&self) -> String {
        let show = |arguments: &[&str]| self.kubectl(arguments).unwrap_or_else(|e| e.to_string());
        let logs =
            ["--namespace", NAME, "logs", "jetbridge-web-0", "--tail=20", "--all-containers"];
        let events = ["get", "events", "--all-namespaces", "--field-selector=type=Warning"];
        [show(&["get", "pods", "--all-namespaces"]), show(&events), show(&logs)].join("\n")
    }
}

/// Follows both jobs' first builds to their ends, which must be green.
async fn builds(api: &Api) -> anyhow::Result<()> {
    for job in ["test", "release"] {
        let build = demo::first_build(api, job).await?;
        println!("== demo/{job} #1");
        let status = api.follow(build).await?;
        println!("== demo/{job} #1 {status}\n");
        ensure!(status == "succeeded", "demo/{job} ended as {status}");
    }
    Ok(())
}

/// Runs a command that must succeed; returns its output.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A port of this machine that leads to the service.
struct WayIn {
    kubectl: Child,
    url: String,
}

impl WayIn {
    fn open(trial: &Trial<'_>) -> anyhow::Result<Self> {
        let mut kubectl = cluster::kubectl(trial.place, &trial.programs)
            .args(["--namespace", NAME, "port-forward", "service/jetbridge-web", ":8080"])
            .args(["--address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start kubectl")?;
        let mut lines =
            BufReader::new(kubectl.stdout.take().context("kubectl has an output")?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let address = first.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
        let address = address.with_context(|| format!("kubectl forwards no port: {first}"))?;
        let url = format!("http://{address}");
        // It says a line for each connection, and must not wait for us to read it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { kubectl, url })
    }
}

impl Drop for WayIn {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
