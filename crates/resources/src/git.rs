//! `git`: commits of a branch, or tags, through the git command line.
//!
//! Git is run with argument arrays only, never through a shell; names from the request are validated before they
//! become arguments, and credentials reach git and ssh through private files (see [`session`]).

pub(crate) mod askpass;
mod check;
mod command;
mod fetch;
mod metadata;
mod push;
mod refname;
mod session;
mod short_ref;
mod source;
pub(crate) mod ssh;
mod submodule;
mod verification;

use serde_json::Value;

use crate::invocation::Action;
use crate::log::Log;
use crate::payload::Payload;

pub(crate) fn run(action: &Action, payload: &Payload, log: &Log) -> anyhow::Result<Value> {
    let fields = payload.source()?;
    log.ignored_keys(&fields.unknown(source::KEYS));
    let source = source::Source::parse(&fields)?;
    match action {
        Action::Check => check::run(&source, payload, log),
        Action::In(dir) => fetch::run(&source, payload, dir, log),
        Action::Out(dir) => push::run(&source, payload, dir, log),
    }
}
