//! The local runtime on a real machine. Needs root; says so loudly and does nothing without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::print_stderr, reason = "skipping must be seen")]

mod basics;
mod conformance;
mod docker_registry;
mod image;
mod images;
mod isolation;
mod lifetime;
mod machine;
#[allow(dead_code, reason = "shared with the tests of resource types")]
#[path = "../../../resources/tests/it/registry.rs"]
mod registry;
mod rootless;
mod served;
#[allow(dead_code, reason = "shared with the tests of the registry's client")]
#[path = "../../../oci/tests/it/server.rs"]
mod server;
mod speed;
