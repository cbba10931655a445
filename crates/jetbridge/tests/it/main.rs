//! The binary as its users meet it: over HTTP, with real containers, killed and started again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod agent_approvals;
mod agent_faults;
mod agent_networks;
mod agents;
mod api;
mod approvals;
#[path = "../../../runtime-kubernetes/tests/it/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with the tests of resource types")]
#[path = "../../../resources/tests/it/registry.rs"]
mod docker_registry;
mod execute;
mod full_disk;
mod git;
mod harnesses;
mod hijack;
#[allow(dead_code, reason = "shared with the tests of the local runtime")]
#[path = "../../../runtime-local/tests/it/image.rs"]
mod image;
mod kubernetes;
mod leftovers;
mod long_log;
mod mcp;
mod metrics;
#[path = "../../../runtime-kubernetes/tests/it/place.rs"]
mod place;
mod proxy;
mod recordings;
mod refusals;
mod restart;
mod runs;
mod server;
mod telemetry;
mod traces;
