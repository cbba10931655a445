//! The built binary, run as a runtime runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod bad_input;
mod cgi;
mod git_check;
mod git_http;
mod git_in;
mod git_out;
mod image;
mod mock;
mod registry;
mod registry_image;
mod repository;
mod script;
mod time;
