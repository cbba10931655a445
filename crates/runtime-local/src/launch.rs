//! What the server tells the shim, and what is found again after a restart.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything needed to make one container. Written as `spec.json` in the container's directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) handle: String,
    /// The container's directory in the state directory.
    pub(crate) dir: PathBuf,
    pub(crate) hostname: String,
    pub(crate) root: Root,
    /// Absolute path inside the container.
    pub(crate) working_dir: String,
    /// Sorted so that a mount comes after those it lies in.
    pub(crate) mounts: Vec<VolumeMount>,
    /// As the image's `/etc/passwd` knows it; empty for root.
    pub(crate) user: String,
    pub(crate) privileged: bool,
    pub(crate) network: NetworkPlan,
    pub(crate) files: EtcFiles,
    pub(crate) cgroup: Option<CgroupPlan>,
    /// `None` when the server is root and containers share its user namespace.
    pub(crate) ids: Option<IdMaps>,
    pub(crate) runner: PathBuf,
    /// Whether nothing leads to where clouds tell a machine who it is, not even by a network.
    #[serde(default)]
    pub(crate) without_metadata: bool,
    /// Bound read-only where agents and gateways look for it.
    #[serde(default)]
    pub(crate) agent: Option<PathBuf>,
    /// Directories of `data/` this container uses.
    pub(crate) data: Vec<String>,
}

/// The root file system: an overlay of these directories, topmost first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Root {
    pub(crate) layers: Vec<PathBuf>,
    /// A directory of the merged layers to use instead of their top, such as `rootfs`.
    pub(crate) subdirectory: Option<String>,
    /// The layers are this machine's own file system, whose further mounts are to be shown too.
    pub(crate) host: bool,
    /// Bound read-only at `/opt/resource`.
    pub(crate) resource: Option<PathBuf>,
}

/// A volume to mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeMount {
    /// Absolute and normalised path inside the container.
    pub(crate) target: String,
    pub(crate) source: VolumeSource,
    pub(crate) ownership: Ownership,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VolumeSource {
    Bind(PathBuf),
    /// Copy on write over `lowers`, topmost first.
    Overlay {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        /// Nothing reads `upper` once the container is gone.
        disposable: bool,
    },
}

/// What of a volume is handed to the container's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ownership {
    /// Everything in it; to root, its top directory.
    All,
    /// Everything in it unless its top directory is theirs already; to root, nothing.
    Unless,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetworkPlan {
    Loopback,
    Host,
    Bridge(BridgePort),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BridgePort {
    pub(crate) bridge: String,
    pub(crate) veth: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) mtu: u32,
}

/// Files written into the container's `/etc`; `None` leaves the image's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EtcFiles {
    pub(crate) hosts: String,
    pub(crate) resolv_conf: Option<String>,
}

/// The control groups of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupPlan {
    pub(crate) groups: Vec<CgroupDir>,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupDir {
    pub(crate) path: PathBuf,
    /// Empty for version 2, else what to mount it by, such as `memory` or `cpu,cpuacct`.
    pub(crate) controllers: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    /// Relative weight, 2 to 262144, 1024 being usual.
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) pids: Option<u64>,
}

impl Limits {
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// How ids inside the container map to those outside: lines of `inside outside count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMaps {
    pub(crate) users: Vec<[u32; 3]>,
    pub(crate) groups: Vec<[u32; 3]>,
    /// Set with `newuidmap` and `newgidmap`, which need no privilege of ours.
    pub(crate) helpers: bool,
}

/// Who a container's first process is. Written as `init.json` once it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Init {
    pub(crate) pid: i32,
    /// Clock ticks since boot, so that a reused pid is not taken for it.
    pub(crate) started: u64,
    pub(crate) boot: String,
}

/// What the shim prints before it exits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Running(Init),
    Failed(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    Image,
    Unsupported,
    Io,
}

/// Why a container could not be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) errno: Option<i32>,
}

impl Failure {
    pub(crate) fn image(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Image, message: message.into(), errno: None }
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unsupported, message: message.into(), errno: None }
    }

    pub(crate) fn io(context: impl std::fmt::Display, error: &io::Error) -> Self {
        Self {
            kind: FailureKind::Io,
            message: format!("{context}: {error}"),
            errno: error.raw_os_error(),
        }
    }
}

/// Says what was attempted when a system call fails.
pub(crate) trait Attempt<T> {
    fn attempt<D: std::fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt<D: std::fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::io(what(), &error))
    }
}

impl<T> Attempt<T> for rustix::io::Result<T> {
    fn attempt<D: std::fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::io(what(), &io::Error::from(error)))
    }
}
