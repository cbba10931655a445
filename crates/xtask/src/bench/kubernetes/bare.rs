//! The floor: pods without a server, made as kubectl makes them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::audit::nanos;
use super::stage::Stage;

/// What a pod runs.
pub(super) const COMMAND: [&str; 2] = ["date", "+%s%N"];
const PATIENCE: Duration = Duration::from_secs(600);

/// How a pod is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As `kubectl run` does, where a namespace has the restricted Pod Security level. Like every pod that names no account
    /// it has a volume with a token, which is why its node takes about a third of a second longer: it looks at volumes
    /// that often.
    Plain,
    /// With an init container before.
    WithInit,
    /// As isolated as a step: root in a user namespace of its own, without a token.
    Isolated,
}

/// One pod, in nanoseconds since 1970.
pub(super) struct Run {
    pub(super) requested: u64,
    /// What its process printed.
    pub(super) ran: u64,
    /// When a watcher was told of it.
    pub(super) succeeded: u64,
}

/// Runs pods of these names at once until all have succeeded, and deletes them.
pub(super) async fn run(stage: &Stage, names: &[String], kind: Kind) -> anyhow::Result<Vec<Run>> {
    let begin = SystemTime::now();
    let bare = &stage.bare;
    let mut ends = BTreeMap::new();
    let mut failed = None;
    let watched = bare.watch_pods(PATIENCE, |pod| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        match pod["status"]["phase"].as_str() {
            Some("Succeeded") => {
                ends.entry(name.to_owned()).or_insert_with(SystemTime::now);
            }
            Some("Failed") => failed = Some(format!("pod {name}: {}", pod["status"])),
            _ => {}
        }
        failed.is_none() && ends.len() < names.len()
    });
    let made = async {
        let pods = names.iter().map(|name| {
            let pod = pod(name, &stage.image, kind);
            async move { bare.create_pod(&pod).await }
        });
        futures_util::future::try_join_all(pods).await
    };
    let (watched, made) = tokio::join!(watched, made);
    made?;
    watched?;
    if let Some(failed) = failed {
        bail!("{failed}");
    }
    let requests = stage.requests(&bare.namespace, begin)?;
    let mut runs = Vec::with_capacity(names.len());
    for name in names {
        let ran = bare.log(name).await?;
        runs.push(Run {
            requested: *requests.get(name).with_context(|| format!("nobody asked for {name}"))?,
            ran: ran.trim().parse().with_context(|| format!("pod {name} printed `{ran}`"))?,
            succeeded: nanos(ends[name])?,
        });
    }
    bare.delete_pods().await?;
    stage.quiet().await?;
    Ok(runs)
}

fn pod(name: &str, image: &str, kind: Kind) -> Value {
    let container = |name: &str, command: &[&str]| {
        json!({
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
            },
        })
    };
    let before = (kind == Kind::WithInit).then(|| container("init", &["true"]));
    let before: Vec<Value> = before.into_iter().collect();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": before,
            "containers": [container("main", &COMMAND)],
        },
    });
    if kind == Kind::Isolated {
        let spec = &mut pod["spec"];
        spec["automountServiceAccountToken"] = false.into();
        spec["enableServiceLinks"] = false.into();
        spec["hostUsers"] = false.into();
        spec["securityContext"] =
            json!({"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}});
    }
    pod
}
