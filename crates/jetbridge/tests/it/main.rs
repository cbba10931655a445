//! The binary as its users meet it: over HTTP, with real containers, killed and started again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod agents;
mod api;
#[path = "../../../runtime-kubernetes/tests/it/cluster.rs"]
mod cluster;
mod execute;
mod full_disk;
mod git;
mod hijack;
mod kubernetes;
mod long_log;
#[path = "../../../runtime-kubernetes/tests/it/place.rs"]
mod place;
mod proxy;
mod recordings;
mod refusals;
mod restart;
mod server;
