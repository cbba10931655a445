//! The runtime on a real cluster: `JETBRIDGE_TEST_KUBECONFIG` or `KUBECONFIG` names it. Without one, the tests say that
//! they are skipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod addresses;
mod checks;
mod cluster;
mod conformance;
#[allow(dead_code, reason = "shared with the tests of resource types")]
#[path = "../../../resources/tests/it/registry.rs"]
mod docker_registry;
#[allow(dead_code, reason = "shared with the tests of the local runtime")]
#[path = "../../../runtime-local/tests/it/image.rs"]
mod image;
mod logins;
mod objects;
mod place;
mod succession;
