#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod limits;
mod merges;
mod positions;
mod random;
mod scalars;

use serde_json::Value;

fn json(text: &str) -> Value {
    crate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_json()
}

fn error(text: &str) -> String {
    crate::parse(text).expect_err(text).to_string()
}
