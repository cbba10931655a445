//! Containers as pods of a Kubernetes cluster.
//!
//! [`KubernetesRuntime`] implements [`jb_runtime::Runtime`]. A container is one pod whose main container's first
//! process is the runner; the server talks to it by executing `jb-runner connect` in it over a WebSocket. Volumes are
//! archives in a claim (see `jb-artifacts`): an init container extracts inputs, a second container publishes outputs,
//! and the step's own container sees neither claim nor token. Or volumes are objects of a bucket: then the same containers
//! get addresses that are good for their own volumes, over the runner's stream. Nothing in memory is needed to find pods and volumes
//! again.

mod api;
mod artifacts;
mod calls;
mod checks;
mod exec;
mod failure;
mod forward;
mod image;
mod keys;
mod logins;
mod names;
mod network;
mod pod;
mod pods;
mod policy;
mod probe;
mod runtime;
#[cfg(test)]
mod scripted;
mod settings;
mod starts;
mod table;
mod user;
mod waits;

pub use runtime::KubernetesRuntime;
pub use settings::{Access, ArtifactStore, CheckPods, Detect, Images, PodSecurity, Settings};
