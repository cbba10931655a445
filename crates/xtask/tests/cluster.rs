//! The cluster that tests run on does what they take for granted. Skipped unless `JETBRIDGE_CLUSTER_DIR` names one
//! that runs, which `cargo xtask test` sees to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A namespace of its own, removed at the end.
struct Namespace(&'static str);

impl Namespace {
    /// None, said aloud, where no cluster runs.
    fn create(name: &'static str) -> Option<Self> {
        if std::env::var_os("JETBRIDGE_CLUSTER_DIR").is_none() {
            let required = std::env::var_os("JETBRIDGE_REQUIRE_KUBERNETES").is_some();
            assert!(!required || std::env::var_os("KUBECONFIG").is_some(), "no cluster is named");
            eprintln!("skipped: JETBRIDGE_CLUSTER_DIR names no cluster");
            return None;
        }
        let namespace = Self(name);
        namespace.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }));
        Some(namespace)
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        kubectl().args(["--namespace", self.0]).args(arguments).output().unwrap()
    }

    fn try_apply(&self, object: &Value) -> Output {
        let mut child = kubectl()
            .args(["--namespace", self.0, "apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn apply(&self, object: &Value) {
        let output = self.try_apply(object);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a shell in a pod to its end; returns what it said.
    fn run(&self, name: &str, script: &str, more: &Value) -> String {
        self.apply(&pod(name, script, more));
        let pod = format!("pod/{name}");
        let ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated.reason}";
        let waited = self.kubectl(&["wait", ended, &pod, "--timeout=60s"]);
        if !waited.status.success() {
            let described = self.kubectl(&["describe", &pod]);
            panic!("{}", String::from_utf8_lossy(&described.stdout));
        }
        String::from_utf8(self.kubectl(&["logs", &pod]).stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "namespace", self.0, "--wait=false"]).output();
    }
}

fn kubectl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["cluster", "kubectl"]);
    command
}

/// A pod that the restricted level allows; members of `more` replace those of its spec.
fn pod(name: &str, script: &str, more: &Value) -> Value {
    let mut spec = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "main",
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    });
    let labels = more.get("labels").cloned().unwrap_or_default();
    if let Some(mounts) = more.get("volumeMounts") {
        spec["containers"][0]["volumeMounts"] = mounts.clone();
    }
    for member in ["hostUsers", "volumes"] {
        if let Some(value) = more.get(member) {
            spec[member] = value.clone();
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    })
}

#[test]
fn pods_get_image_volumes_users_of_their_own_claims_and_names() {
    let Some(namespace) = Namespace::create("cluster-pods") else { return };
    namespace.apply(&json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }));
    let said = namespace.run(
        "first",
        "ls /image && read first rest </proc/self/uid_map && set -- $rest && echo mapped $(($1 > 0)) && \
         nslookup kubernetes.default.svc.cluster.local && echo kept >/shared/file",
        &json!({
            "hostUsers": false,
            "volumes": [
                {"name": "image", "image": {"reference": "localhost/pause:1"}},
                {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
            ],
            "volumeMounts": [
                {"name": "image", "mountPath": "/image"},
                {"name": "shared", "mountPath": "/shared"},
            ],
        }),
    );
    assert!(said.starts_with("pause\nmapped 1\n"), "{said}");
    assert!(said.contains("Address: 10.96.0.1\n"), "{said}");
    let said = namespace.run(
        "second",
        "cat /shared/file",
        &json!({
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        }),
    );
    assert_eq!(said, "kept\n");
}

#[test]
fn what_the_namespaces_level_forbids_is_refused() {
    let Some(namespace) = Namespace::create("cluster-security") else { return };
    let mut root = pod("root", "true", &json!({}));
    root["spec"]["securityContext"] = json!({});
    let output = namespace.try_apply(&root);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("violates PodSecurity \"restricted:latest\""), "{said}");
}

#[test]
fn network_policies_hold_from_the_first_packet_on() {
    let Some(namespace) = Namespace::create("cluster-policy") else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["cluster", "env"]).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let told = |name: &str| {
        let begin = format!("export JETBRIDGE_CLUSTER_{name}=");
        said.lines().find_map(|line| line.strip_prefix(begin.as_str())).unwrap()
    };
    let (host, link_local) = (told("HOST"), told("LINK_LOCAL"));
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n");
        }
    });
    namespace.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "hermetic"},
        "spec": {
            "podSelector": {"matchLabels": {"network": "hermetic"}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }));
    let script = format!(
        "for host in {host} {link_local}; do timeout 3 wget -qO- http://$host:{port}/ 2>/dev/null || echo cut off; done"
    );
    let said = namespace.run("open", &script, &json!({"labels": {"network": "open"}}));
    assert_eq!(said, "hello\nhello\n");
    let said = namespace.run("hermetic", &script, &json!({"labels": {"network": "hermetic"}}));
    assert_eq!(said.matches("cut off").count(), 2, "{said}");
}
