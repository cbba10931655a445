//! The real runner, driven over its socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod client;
mod command;
mod door;
mod init;
mod oom;
mod output;
mod process;
mod protocol;
mod support;
mod terminal;
