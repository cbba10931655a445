#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod decisions;
mod limits;
mod origins;
pub(crate) mod server;
mod triggers;
