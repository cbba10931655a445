//! Containers on this machine: namespaces, overlays, cgroups.
//!
//! [`LocalRuntime`] implements [`jb_runtime::Runtime`]. For every container it executes the shim
//! ([`shim_main`]) anew: a process with one thread, which makes the namespaces and is gone as soon
//! as the runner is the container's first process. Nothing in memory is needed to find containers
//! and volumes again; all is in the state directory.

mod base;
mod cgroup;
mod host_image;
mod janitor;
mod launch;
mod mountinfo;
mod netlink;
mod network;
mod probe;
mod process;
mod runtime;
mod settings;
mod shim;
mod store;
mod transfer;
mod userns;

use jb_archive::privilege;

pub use network::Subnet;
pub use probe::{Check, Report, Standing};
pub use runtime::LocalRuntime;
pub use settings::Settings;
pub use shim::shim_main;
