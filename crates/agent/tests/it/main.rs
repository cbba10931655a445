//! Harnesses and their gateway, against a scripted model.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod apis;
mod approvals;
mod budget;
mod conformance;
mod harness;
mod long;
mod loops;
mod mcp;
mod network;
mod programs;
mod recording;
mod step;
mod suspension;
mod town;
mod trouble;
