//! The conformance suite: every test runs on SQLite in memory, SQLite in a file and PostgreSQL.
//!
//! PostgreSQL is started by the tests themselves from the binaries of the system; without them its tests say
//! `skipped`, or fail when `JETBRIDGE_REQUIRE_POSTGRES=1` is set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "tests"
)]

/// Runs the named tests, each an `async fn(Store)`, on every engine.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn memory() {
                crate::engines::on_memory(super::$name);
            }
            #[test]
            fn file() {
                crate::engines::on_file(super::$name);
            }
            #[test]
            fn postgres() {
                crate::engines::on_postgres(super::$name);
            }
        }
    )*};
}

mod agent_usage;
mod approvals;
mod builds;
mod causality;
mod coverage;
mod engines;
mod events;
mod full_disk;
mod inputs;
mod jobs;
mod opening;
mod pipelines;
mod resources;
mod sched;
mod schema;
mod small;
mod volumes;
mod world;
