//! The program in an agent's containers.
//!
//! `jb-agent gateway` runs in a container of its own, with the key and a way out. `jb-agent loop` is the built-in
//! harness; it runs in the step's container, whose only way to anything is the gateway's socket. Both are told what to
//! do on stdin and say what happens on stdout (see `jb-agent-protocol`); the runner keeps what they said, so neither needs
//! the server while it works. `jb-agent serve` runs in the container of an MCP server that is a program. `jb-agent link` carries that socket from one pod to another.

pub mod builtin;
pub mod driver;
mod egress;
mod exchange;
pub mod gateway;
mod lines;
pub mod link;
pub mod message;
mod output;
mod process;
mod proxy;
pub mod schema;
pub mod server;
mod sse;
mod state;
pub mod stdin;
mod step;
mod toolbox;
pub mod tools;

pub use output::{Lines, Output};
pub use toolbox::Decisions;
