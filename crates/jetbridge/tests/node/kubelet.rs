//! The program that runs a cluster's pods on its one node.

use std::process::{Command, Stdio};

/// Runs, whatever became of it meanwhile, when this is gone.
pub struct Kubelet(());

impl Kubelet {
    /// `None`, aloud, unless the cluster is one of this machine.
    pub fn find() -> Option<Self> {
        if std::env::var_os("JETBRIDGE_CLUSTER_DIR").is_none() {
            eprintln!(
                "skipped: no cluster of this machine's own; `cargo xtask cluster up` makes one"
            );
            return None;
        }
        Some(Self(()))
    }

    pub fn stop(&self) {
        assert!(cluster("stop"), "the kubelet does not stop");
    }

    pub fn start(&self) {
        assert!(cluster("start"), "the kubelet does not start");
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        cluster("start");
    }
}

fn cluster(action: &str) -> bool {
    let mut xtask = Command::new(env!("CARGO"));
    xtask.args(["xtask", "cluster", action, "kubelet"]).stdin(Stdio::null());
    xtask.status().is_ok_and(|status| status.success())
}
