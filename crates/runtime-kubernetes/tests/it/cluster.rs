//! A namespace of its own for every test, with claims on a directory of the node.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const CLAIMS: [&str; 2] = ["artifacts", "caches"];
/// All pods with claims are in it.
const ARTIFACT_GROUP: u32 = 64017;

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
            let is_required = std::env::var_os("JETBRIDGE_REQUIRE_KUBERNETES").is_some();
            assert!(!is_required, "KUBECONFIG names no cluster");
            eprintln!(
                "skipped: no cluster; `cargo xtask cluster up` makes one, KUBECONFIG names another"
            );
            return None;
        };
        Some(Self::at(kubeconfig.into(), level))
    }

    /// The second cluster, beside the first. `None`, aloud, without one.
    #[allow(dead_code, reason = "not all who share this need another")]
    pub(crate) fn second(level: &str) -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("JETBRIDGE_TEST_SECOND_KUBECONFIG") else {
            eprintln!(
                "skipped: no second cluster; `cargo xtask cluster up --dir DIR` makes one, and \
                 JETBRIDGE_TEST_SECOND_KUBECONFIG names it"
            );
            return None;
        };
        Some(Self::at(kubeconfig.into(), level))
    }

    fn at(kubeconfig: PathBuf, level: &str) -> Self {
        let process = std::process::id();
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros();
        let namespace = format!("jb-test-{process}-{time}-{level}");
        let cluster = Self { kubeconfig, namespace, level: level.to_owned() };
        cluster.make_storage();
        cluster.apply(&cluster.objects());
        cluster
    }

    /// Storage lets pods write as a group of theirs. A directory of the node does not by itself; where the node is this
    /// machine, that can be mended.
    fn make_storage(&self) {
        if std::env::var_os("JETBRIDGE_CLUSTER_DIR").is_none() {
            return;
        }
        for claim in CLAIMS {
            let dir = self.storage(claim);
            std::fs::create_dir_all(&dir).unwrap();
            std::os::unix::fs::chown(&dir, None, Some(ARTIFACT_GROUP)).unwrap();
            std::fs::set_permissions(&dir, Permissions::from_mode(0o2775)).unwrap();
        }
    }

    /// The node's directory behind a claim.
    fn storage(&self, claim: &str) -> String {
        format!("/var/tmp/jb-test-claims/{}/{claim}", self.namespace)
    }

    fn objects(&self) -> String {
        let Self { namespace, level, .. } = self;
        let mut text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels:\n    \
             pod-security.kubernetes.io/enforce: {level}\n---\n"
        );
        for claim in CLAIMS {
            let path = self.storage(claim);
            text.push_str(&format!(
                "apiVersion: v1\nkind: PersistentVolume\nmetadata:\n  name: {namespace}-{claim}\nspec:\n  \
                 capacity: {{storage: 1Gi}}\n  accessModes: [ReadWriteMany]\n  storageClassName: \"\"\n  \
                 hostPath: {{path: {path}, type: DirectoryOrCreate}}\n  \
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
        self.tell(&["apply", "--filename", "-"], objects);
    }

    /// Access to this cluster and nothing else, as kubectl's files are.
    #[allow(dead_code, reason = "not all who share this write files of their own")]
    pub(crate) fn access(&self) -> serde_json::Value {
        let view = ["config", "view", "--raw", "--flatten", "--minify", "--output=json"];
        serde_json::from_str(&self.kubectl(&view)).unwrap()
    }

    fn tell(&self, arguments: &[&str], objects: &str) {
        let mut kubectl = Command::new("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl is installed");
        kubectl.stdin.take().unwrap().write_all(objects.as_bytes()).unwrap();
        assert!(kubectl.wait().unwrap().success());
    }

    /// Evicts the one pod that a selector finds, as whoever empties a node does.
    #[allow(dead_code, reason = "not all who share this have pods evicted")]
    pub(crate) fn evict(&self, selector: &str) {
        let selector = format!("--selector={selector}");
        let pod = self.kubectl(&[
            "get",
            "pods",
            &selector,
            "--output=jsonpath={.items[*].metadata.name}",
        ]);
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", self.namespace);
        let eviction = format!(
            "{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {{\"name\": \"{pod}\"}}}}"
        );
        self.tell(&["create", "--raw", &path, "--filename", "-"], &eviction);
    }

    /// Removes everything, in the background of the cluster.
    pub(crate) fn clear(&self) {
        // Some tests take them away themselves.
        const GONE: &str = "--ignore-not-found";
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false", GONE]);
        let [first, second] = CLAIMS.map(|claim| format!("{}-{claim}", self.namespace));
        self.kubectl(&["delete", "persistentvolume", &first, &second, "--wait=false", GONE]);
    }
}
