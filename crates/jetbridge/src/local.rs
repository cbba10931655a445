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
        None => {
            bail!("neither XDG_DATA_HOME nor HOME is set; say where to keep state with --state-dir")
        }
    }
}

/// Starts the local runtime on a state directory.
pub(crate) fn runtime(
    options: &StateOptions,
    state: &std::path::Path,
) -> anyhow::Result<Arc<LocalRuntime>> {
    let programs = embedded::unpack(&state.join("bin"))?;
    let worker_name = options
        .name
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let pool = &options.local_network_pool;
    let network_pool = jb_runtime_local::Subnet::parse(pool).with_context(|| {
        format!("--local-network-pool `{pool}` is no network such as 10.88.0.0/16")
    })?;
    // The whole state directory is the runtime's own, so that all of it is hidden from containers.
    let mut settings = jb_runtime_local::Settings::new(
        state,
        vec!["/proc/self/exe".into(), "shim".into()],
        programs.runner,
        programs.resources,
    );
    settings.agent = Some(programs.agent);
    settings.worker_name = worker_name;
    settings.network_pool = network_pool;
    let runtime = LocalRuntime::new(settings)
        .context("start the local container runtime; `jetbridge doctor` says more")?;
    Ok(Arc::new(runtime))
}

/// A directory's content as a plain tar archive, read while it is taken.
pub(crate) fn tar_of(dir: &std::path::Path) -> std::io::Result<jb_runtime::ByteStream> {
    std::fs::read_dir(dir)?;
    let (reader, writer) = std::io::pipe()?;
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut archive = tar::Builder::new(std::io::BufWriter::new(writer));
        archive.follow_symlinks(false);
        // A reader that went away has its own error; a file that cannot be read cuts the archive short,
        // which the reader sees as a broken one.
        if archive.append_dir_all(".", &dir).is_ok() {
            let _ = archive.finish();
        }
    });
    let reader = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
    Ok(Box::new(tokio::fs::File::from_std(reader)))
}
