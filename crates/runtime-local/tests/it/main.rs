//! The local runtime on a real machine. Needs root; says so loudly and does nothing without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::print_stderr, reason = "skipping must be seen")]

mod basics;
mod conformance;
mod isolation;
mod lifetime;
mod machine;
mod rootless;
mod speed;
