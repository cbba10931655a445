//! The whole edge in process, over a store in memory and an engine that is played.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests"
)]

mod agent_usage;
mod archived;
mod artifacts;
mod builds;
mod configs;
mod engine;
mod events;
mod full_network;
mod guards;
mod hijack;
mod login;
mod pods;
mod recordings;
mod schemas;
mod server;
mod teams;
mod versions;
