//! What is known of the pods in which a build's steps run, for people who watch them.

use jb_model::{ContainerHandle, Timestamp};

/// One pod, in the words of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodInfo {
    pub name: String,
    pub namespace: String,
    /// The container it is.
    pub handle: Option<ContainerHandle>,
    /// What the step is: `get`, `put`, `task`, `check` or `run`.
    pub kind: String,
    pub step: String,
    pub attempt: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`, or `Terminating` once it is being deleted.
    pub phase: String,
    /// Why it is in that phase or does not leave it, as one word; empty if the cluster does not say.
    pub reason: String,
    pub message: String,
    /// Empty until it has one.
    pub node: String,
    pub created_at: Option<Timestamp>,
    pub scheduled_at: Option<Timestamp>,
    /// When its node began with it.
    pub started_at: Option<Timestamp>,
    /// When all its containers were ready first.
    pub ready_at: Option<Timestamp>,
    /// When its last container ended.
    pub finished_at: Option<Timestamp>,
    /// Those that run before the others first.
    pub containers: Vec<PodContainer>,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContainer {
    pub name: String,
    pub image: String,
    /// Runs to its end before the others start.
    pub init: bool,
    /// `waiting`, `running` or `terminated`.
    pub state: &'static str,
    pub reason: String,
    pub message: String,
    pub restarts: u32,
    pub exit_code: Option<i32>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}
