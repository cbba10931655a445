//! A namespace of its own for every test, with claims on a directory of the node.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) namespace: String,
    level: String,
}

/// What tests run on: `cargo xtask images` makes them, and variables name others.
pub(crate) fn image(name: &str) -> String {
    let variable = format!("JETBRIDGE_TEST_{}_IMAGE", name.to_uppercase());
    let own = || format!("localhost/jetbridge-{name}:{}", env!("CARGO_PKG_VERSION"));
    std::env::var(variable).unwrap_or_else(|_| own())
}

impl Cluster {
    /// The cluster, with a fresh namespace that enforces the Pod Security level `level`. `None`, aloud, without one.
    pub(crate) fn find(level: &str) -> Option<Self> {
        let named = ["JETBRIDGE_TEST_KUBECONFIG", "KUBECONFIG"];
        let Some(kubeconfig) = named.into_iter().find_map(std::env::var_os) else {
            eprintln!(
                "skipped: no cluster; `cargo xtask cluster up` makes one, KUBECONFIG names another"
            );
            return None;
        };
        let process = std::process::id();
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros();
        let namespace = format!("jb-test-{process}-{time}-{level}");
        let cluster = Self { kubeconfig: kubeconfig.into(), namespace, level: level.to_owned() };
        cluster.apply(&cluster.objects());
        Some(cluster)
    }

    fn objects(&self) -> String {
        let Self { namespace, level, .. } = self;
        let mut text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels:\n    \
             pod-security.kubernetes.io/enforce: {level}\n---\n"
        );
        for claim in ["artifacts", "caches"] {
            text.push_str(&format!(
                "apiVersion: v1\nkind: PersistentVolume\nmetadata:\n  name: {namespace}-{claim}\nspec:\n  \
                 capacity: {{storage: 1Gi}}\n  accessModes: [ReadWriteMany]\n  storageClassName: \"\"\n  \
                 hostPath: {{path: /var/tmp/jb-test-claims/{namespace}/{claim}, type: DirectoryOrCreate}}\n  \
                 claimRef: {{namespace: {namespace}, name: {claim}}}\n---\n\
                 apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: {claim}\n  \
                 namespace: {namespace}\nspec:\n  accessModes: [ReadWriteMany]\n  storageClassName: \"\"\n  \
                 volumeName: {namespace}-{claim}\n  resources: {{requests: {{storage: 1Gi}}}}\n---\n"
            ));
        }
        text
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .output()
            .expect("kubectl is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn apply(&self, objects: &str) {
        let mut kubectl = Command::new("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["apply", "--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl is installed");
        kubectl.stdin.take().unwrap().write_all(objects.as_bytes()).unwrap();
        assert!(kubectl.wait().unwrap().success());
    }

    /// Removes everything, in the background of the cluster.
    pub(crate) fn clear(&self) {
        // Some tests take them away themselves.
        const GONE: &str = "--ignore-not-found";
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false", GONE]);
        let volumes = ["artifacts", "caches"].map(|claim| format!("{}-{claim}", self.namespace));
        self.kubectl(&[
            "delete",
            "persistentvolume",
            &volumes[0],
            &volumes[1],
            "--wait=false",
            GONE,
        ]);
    }
}
