//! The engine on a store in memory and a fake runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod agent_approvals;
mod agent_servers;
mod agents;
mod approvals;
mod bad_output;
mod crash;
mod flow;
mod images;
mod pipelines;
mod places;
mod recordings;
mod resources;
mod server;
mod tasks;
mod trouble;
