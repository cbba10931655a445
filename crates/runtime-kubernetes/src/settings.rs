//! What the runtime is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jb_metrics::Metrics;

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A file as kubectl reads it; without one, what `KUBECONFIG` names, the pod's own service account, or
    /// `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of that file other than its current one.
    pub context: Option<String>,
}

/// The Pod Security Standard that the namespace enforces. It bounds what steps can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodSecurity {
    /// No capabilities. Root is had only inside a user namespace, and cannot become anyone else.
    #[default]
    Restricted,
    /// The capabilities that container engines give by default.
    Baseline,
    /// Steps may be privileged, too.
    Privileged,
}

impl PodSecurity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Baseline => "baseline",
            Self::Privileged => "privileged",
        }
    }
}

/// Whether to use something that not every cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detect {
    /// If the API server takes it.
    #[default]
    Auto,
    Always,
    Never,
}

/// Images by the names under which the cluster's nodes pull them.
#[derive(Clone, Debug)]
pub struct Images {
    /// Has `/jb-runner` and `/jb-artifacts`.
    pub runner: String,
    /// Has the built-in resource types in `/opt/resources/<type>`.
    pub resources: String,
    /// What tasks without an image run on.
    pub task: String,
}

/// Bounds of the pods that checks share. Pods that are at work are never deleted for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPods {
    /// The most that one server keeps at a time.
    pub max: usize,
    /// A pod takes no more checks when it is this old.
    pub max_age: Duration,
    /// A pod takes no more checks after this many.
    pub max_checks: u32,
    /// A pod without checks for this long is deleted.
    pub max_idle: Duration,
}

impl Default for CheckPods {
    fn default() -> Self {
        Self {
            max: 100,
            max_age: Duration::from_secs(60 * 60),
            max_checks: 2000,
            max_idle: Duration::from_secs(10 * 60),
        }
    }
}

/// Where volumes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactStore {
    /// In a claim of this name, which all nodes can mount at the same time.
    Claim(String),
    /// In a bucket that pods reach. None of them gets its key.
    Objects(jb_object_store::Settings),
}

/// Settings of a [`crate::KubernetesRuntime`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The worker's name as `fly workers` shows it. Pods and volumes of other names are left alone.
    pub worker_name: String,
    pub namespace: String,
    pub images: Images,
    /// The built-in resource types of [`Images::resources`].
    pub base_types: Vec<String>,
    pub artifacts: ArtifactStore,
    /// One for caches; without one they last as long as their build's step.
    pub cache_claim: Option<String>,
    pub pod_security: PodSecurity,
    /// Mounting images as volumes, by which the runner comes into containers without an init container.
    pub image_volumes: Detect,
    /// User namespaces, in which images that want root have one without rights on their node.
    pub user_namespaces: Detect,
    /// Names of secrets with which nodes pull images.
    pub pull_secrets: Vec<String>,
    /// The service account pods belong to. None of them gets its token.
    pub service_account: Option<String>,
    /// Addresses that steps and checks do not reach, besides those that no step has business with (`network`).
    pub deny_egress: Vec<IpNet>,
    /// How long a pod may take until its runner answers, images and waiting for room included.
    pub start_timeout: Duration,
    /// How long nothing may come from a runner that was asked, before the stream to it counts as broken and is made anew.
    pub stream_silence: Duration,
    /// The longest that any pod lives, kept for a look inside included.
    pub deadline: Duration,
    pub check_pods: CheckPods,
    /// How long the pod through which servers reach volumes lasts after the last of them used it; seconds, one at least.
    pub artifacts_idle: Duration,
    /// Bytes of file content that one archive may bring into a volume.
    pub max_archive_bytes: u64,
    /// Counts pods and calls to the API server.
    pub metrics: Metrics,
}

impl Settings {
    /// Settings with the usual bounds.
    pub fn new(namespace: &str, artifact_claim: &str, images: Images) -> Self {
        Self {
            worker_name: format!("k8s-{namespace}"),
            namespace: namespace.to_owned(),
            images,
            base_types: ["git", "time", "registry-image", "mock"].map(str::to_owned).to_vec(),
            artifacts: ArtifactStore::Claim(artifact_claim.to_owned()),
            cache_claim: None,
            pod_security: PodSecurity::default(),
            image_volumes: Detect::default(),
            user_namespaces: Detect::default(),
            pull_secrets: Vec::new(),
            service_account: None,
            deny_egress: Vec::new(),
            start_timeout: Duration::from_secs(10 * 60),
            stream_silence: Duration::from_secs(45),
            deadline: Duration::from_secs(7 * 24 * 60 * 60),
            check_pods: CheckPods::default(),
            artifacts_idle: Duration::from_secs(30 * 60),
            max_archive_bytes: 100 << 30,
            metrics: Metrics::default(),
        }
    }

    /// The claim that holds volumes, if one does.
    pub(crate) fn artifact_claim(&self) -> Option<&str> {
        match &self.artifacts {
            ArtifactStore::Claim(claim) => Some(claim),
            ArtifactStore::Objects(_) => None,
        }
    }
}
