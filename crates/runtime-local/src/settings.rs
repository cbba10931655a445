//! What the runtime is told at its start.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::network::Subnet;

/// Settings of a [`crate::LocalRuntime`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where containers and volumes are kept; on a file system that can hold overlays.
    pub state_dir: PathBuf,
    /// The worker's name as `fly workers` shows it.
    pub worker_name: String,
    /// Program and first arguments that lead to [`crate::shim_main`] with the arguments after
    /// them, such as `/proc/self/exe shim`.
    pub shim: Vec<OsString>,
    /// The static `jb-runner` binary.
    pub runner: PathBuf,
    /// The static `jb-resources` binary, which is bound at `/opt/resource/jb-resources` with
    /// `check`, `in` and `out` as links to it and the type's name in `/opt/resource/type`.
    pub resource_types: PathBuf,
    /// The static `jb-agent` binary; without it there are no containers for agents.
    pub agent: Option<PathBuf>,
    /// Addresses for containers, of which a part is taken.
    pub network_pool: Subnet,
    /// Resolvers for containers; the host's own when empty.
    pub dns_servers: Vec<IpAddr>,
    /// Processes and threads a container may have.
    pub pids_limit: Option<u64>,
    /// Bytes of file content that one archive may bring into a volume.
    pub max_archive_bytes: u64,
}

impl Settings {
    /// Settings with the usual pool and bounds.
    pub fn new(
        state_dir: impl Into<PathBuf>,
        shim: Vec<OsString>,
        runner: impl Into<PathBuf>,
        resource_types: impl Into<PathBuf>,
    ) -> Self {
        Self {
            state_dir: state_dir.into(),
            worker_name: "local".into(),
            shim,
            runner: runner.into(),
            resource_types: resource_types.into(),
            agent: None,
            network_pool: Subnet { address: std::net::Ipv4Addr::new(10, 80, 0, 0), prefix: 16 },
            dns_servers: Vec::new(),
            pids_limit: None,
            max_archive_bytes: 100 << 30,
        }
    }
}
