//! This machine as a place for containers and state.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use jb_runtime_local::LocalRuntime;

use crate::cli::StateOptions;
use crate::embedded;

/// Where state is kept unless a flag says otherwise.
pub(crate) fn state_dir(options: &StateOptions) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &options.state_dir {
        let dir = std::path::absolute(dir).with_context(|| format!("resolve {}", dir.display()))?;
        return Ok(dir);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/jetbridge"));
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    match data.or_else(home) {
        Some(data) => Ok(data.join("jetbridge")),
        None => bail!("neither XDG_DATA_HOME nor HOME is set; say where to keep state with --state-dir"),
    }
}

/// Starts the local runtime on a state directory.
pub(crate) fn runtime(
    options: &StateOptions,
    state: &std::path::Path,
) -> anyhow::Result<Arc<LocalRuntime>> {
    let programs = embedded::unpack(&state.join("bin"))?;
    let worker_name = options.name.clone().unwrap_or_else(|| {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    });
    let runtime = LocalRuntime::new(jb_runtime_local::Settings {
        state_dir: state.join("worker"),
        worker_name,
        shim: vec!["/proc/self/exe".into(), "shim".into()],
        runner: programs.runner,
        resource_types: programs.resources,
        network_pool: options.local_network_pool.clone(),
        hidden: vec![state.to_owned()],
    });
    Ok(Arc::new(runtime.context("start the local container runtime; `jetbridge doctor` says more")?))
}
