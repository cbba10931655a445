//! The ssh that git runs: the real one, told to read only our configuration.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// Names the private configuration file.
pub(super) const CONFIG_VARIABLE: &str = "JETBRIDGE_GIT_SSH_CONFIG";

/// Replaces this process by `ssh -F CONFIG ARGS…`.
pub(crate) fn exec(args: &[OsString]) -> anyhow::Result<()> {
    let config = std::env::var_os(CONFIG_VARIABLE).context("no ssh configuration to use")?;
    let error = Command::new("ssh").arg("-F").arg(config).args(args).exec();
    Err(error).context("failed to run ssh: this container needs an ssh client for ssh addresses")
}
