//! What the server is allowed to do.

use rustix::thread::{CapabilitySet, capabilities};

/// True when the process may mount and make namespaces without a user namespace of its own.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}
