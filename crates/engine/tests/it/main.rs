//! The engine on a store in memory and a fake runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod recordings;
mod server;
mod tasks;
