//! A server whose steps are pods, and a namespace beside its own for bare ones.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::super::builds;
use super::super::stage::{USER, eventually};
use super::audit::{Audit, Write};
use super::bare;
use super::objects::Objects;
use crate::api::Api;
use crate::cluster::place::Place;
use crate::server::Server;

/// The service account that the server uses.
const ACCOUNT: &str = "jetbridge";
const TOKEN_SECONDS: u32 = 24 * 60 * 60;
/// Between looks at whether pods are gone.
const LOOK: Duration = Duration::from_millis(50);
/// The output that is carried from pod to pod, in files of 1 MiB.
const MAKE: &str = "head -c 78643200 /dev/urandom | base64 -w 0 | split -b 1048576 - data/part-";

pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) api: Api,
    /// The server's namespace.
    pub(super) steps: Objects,
    /// That of pods without a server.
    pub(super) bare: Objects,
    pub(super) image: String,
    /// On the disk that the cluster's claims and containers are on.
    pub(super) scratch: PathBuf,
    audit: Audit,
}

impl Stage {
    pub(super) async fn set(
        binary: &Path,
        dir: &Path,
        place: &Place,
        port: u16,
    ) -> anyhow::Result<Self> {
        let id = std::process::id();
        let steps = Objects::new(place, &format!("bench-{id}"))?;
        let bare = Objects::new(place, &format!("bench-{id}-bare"))?;
        for objects in [&steps, &bare] {
            objects.create("/api/v1/namespaces", &namespace(&objects.namespace)).await?;
        }
        let kubeconfig = dir.join("kubeconfig");
        std::fs::create_dir_all(dir)?;
        std::fs::write(&kubeconfig, access(&steps, place).await?.to_string())
            .with_context(|| format!("write {}", kubeconfig.display()))?;
        let image = format!("localhost/jetbridge-task:{}", env!("CARGO_PKG_VERSION"));
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let user = format!("{USER}:{USER}");
        let kubeconfig = kubeconfig.display().to_string();
        let options = [
            ["--add-local-user", &user],
            ["--main-team-local-user", USER],
            ["--kubernetes-namespace", &steps.namespace],
            ["--kubernetes-kubeconfig", &kubeconfig],
            ["--kubernetes-artifact-store-claim", "artifacts"],
            ["--kubernetes-cache-pvc", "caches"],
        ];
        let options: Vec<String> =
            options.iter().flatten().map(|text| (*text).to_owned()).collect();
        let server = Server::start(binary, &dir.join("server"), address, &options).await?;
        let api = Api::login(&server.url, USER, USER).await?;
        api.set_pipeline("bench", &pipeline()).await?;
        api.put("/teams/main/pipelines/bench/unpause").await?;
        let scratch = place.dir.join("bench");
        std::fs::create_dir_all(&scratch)?;
        Ok(Self { server, api, steps, bare, image, scratch, audit: Audit::new(place) })
    }

    /// Removes what was put into the cluster.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        self.bare.delete_namespace().await?;
        self.steps.delete_namespace().await?;
        std::fs::remove_dir_all(&self.scratch)
            .with_context(|| format!("remove {}", self.scratch.display()))
    }

    /// When pods of a namespace were asked for, by their names.
    pub(super) fn requests(
        &self,
        namespace: &str,
        since: SystemTime,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let writes = self.audit.since(since)?.into_iter();
        let made = writes.filter(|write| {
            write.namespace == namespace && write.resource == "pods" && write.verb == "create"
        });
        Ok(made.map(|write| (write.name, write.received)).collect())
    }

    /// When pods of steps were asked for, in that order.
    pub(super) fn steps_requested(&self, since: SystemTime) -> anyhow::Result<Vec<u64>> {
        let requests = self.requests(&self.steps.namespace, since)?.into_iter();
        let mut times: Vec<u64> =
            requests.filter(|(name, _)| is_of_step(name)).map(|(_, time)| time).collect();
        times.sort_unstable();
        Ok(times)
    }

    /// What the server wrote to the cluster.
    pub(super) fn writes(&self, since: SystemTime) -> anyhow::Result<Vec<Write>> {
        let user = format!("system:serviceaccount:{}:{ACCOUNT}", self.steps.namespace);
        let writes = self.audit.since(since)?.into_iter();
        Ok(writes.filter(|write| write.user == user).collect())
    }

    /// Runs a job to its good end; its log, and when a watcher saw the ends of its tasks' processes.
    pub(super) async fn run(&self, job: &str) -> anyhow::Result<(String, Vec<SystemTime>)> {
        let build = builds::trigger(&self.api, job).await?;
        let mut ends = Vec::new();
        let log = builds::succeeded(&self.api, build, builds::PATIENCE, |event| {
            if event == "finish-task" {
                ends.push(SystemTime::now());
            }
        });
        let log = log.await.with_context(|| {
            format!("job `{job}`; the server's log is {}", self.server.log.display())
        })?;
        Ok((log, ends))
    }

    /// Returns once no pod of any step is left, so that what is measured next has the node to itself.
    pub(super) async fn quiet(&self) -> anyhow::Result<()> {
        eventually("the end of all pods", LOOK, async || {
            let steps = self.steps.pods().await?;
            let of_steps = steps.iter().filter(|name| is_of_step(name)).count();
            let left = self.bare.pods().await?.len() + of_steps;
            Ok((left == 0).then_some(()))
        })
        .await
    }
}

/// Pods of steps are named after their pipeline; others stay.
fn is_of_step(name: &str) -> bool {
    name.starts_with("bench-")
}

/// The times that a job's tasks printed.
pub(super) fn times(log: &str) -> Vec<u64> {
    log.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Milliseconds between two times in nanoseconds; negative when they are the other way round.
pub(super) fn between(from: u64, to: u64) -> f64 {
    let millis = |nanos: u64| super::super::figures::millis(Duration::from_nanos(nanos));
    if to >= from { millis(to - from) } else { -millis(from - to) }
}

fn namespace(name: &str) -> Value {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// Makes the claims and the server's account; a kubeconfig for it.
async fn access(steps: &Objects, place: &Place) -> anyhow::Result<Value> {
    let Objects { namespace, .. } = steps;
    let core = format!("/api/v1/namespaces/{namespace}");
    for claim in ["artifacts", "caches"] {
        let claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        steps.create(&format!("{core}/persistentvolumeclaims"), &claim).await?;
    }
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
    steps.create(&format!("{core}/serviceaccounts"), &account).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    });
    let bindings = "apis/rbac.authorization.k8s.io/v1/namespaces";
    steps.create(&format!("/{bindings}/{namespace}/rolebindings"), &binding).await?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    });
    let token = steps.create(&format!("{core}/serviceaccounts/{ACCOUNT}/token"), &request).await?;
    let Some(token) = token["status"]["token"].as_str() else { bail!("no token for {ACCOUNT}") };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{
            "name": "bench",
            "cluster": {"server": place.server(), "certificate-authority": place.pki("ca.crt")},
        }],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{
            "name": "bench",
            "context": {"cluster": "bench", "user": ACCOUNT, "namespace": namespace},
        }],
    }))
}

fn pipeline() -> String {
    let [path, argument] = bare::COMMAND;
    let stamp = format!("{{platform: linux, run: {{path: {path}, args: ['{argument}']}}}}");
    let many: String = (0..super::step::STEPS)
        .map(|step| format!("  - {{task: step-{step}, config: {stamp}}}\n"))
        .collect();
    let carry = |make: &str| {
        format!(
            "  - task: make
    config:
      platform: linux
      outputs: [{{name: data}}]
      run: {{path: sh, args: [-ec, '{make}; date +%s%N']}}
  - task: take
    config:
      platform: linux
      inputs: [{{name: data}}]
      run: {{path: {path}, args: ['{argument}']}}
"
        )
    };
    format!(
        "\
resources:
- name: quiet
  type: mock
  check_every: never
  source: {{force_version: v1}}
jobs:
- name: one
  plan:
  - {{task: stamp, config: {stamp}}}
- name: many
  plan:
{many}- name: follow
  plan:
  - get: quiet
- name: carry
  plan:
{carry}- name: carry-nothing
  plan:
{nothing}",
        carry = carry(MAKE),
        nothing = carry("true"),
    )
}

/// Makes in a directory what the pipeline carries.
pub(super) fn make(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.join("data"))?;
    let made = std::process::Command::new("sh").args(["-ec", MAKE]).current_dir(dir).status()?;
    anyhow::ensure!(made.success(), "`{MAKE}` failed: {made}");
    Ok(())
}
