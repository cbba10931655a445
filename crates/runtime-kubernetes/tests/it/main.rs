//! The runtime on a real cluster: `JETBRIDGE_TEST_KUBECONFIG` or `KUBECONFIG` names it. Without one, the tests say that
//! they are skipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod checks;
mod cluster;
mod conformance;
mod objects;
mod place;
