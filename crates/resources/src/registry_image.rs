//! `registry-image`: images of a registry, followed by tag or by version.

mod check;
mod fetch;
mod push;

use std::sync::Arc;

use jb_oci::resource::{SOURCE_KEYS, Source};
use serde_json::Value;

use crate::invocation::Action;
use crate::log::Log;
use crate::payload::Payload;

pub(crate) fn run(action: &Action, payload: &Payload, log: &Log) -> anyhow::Result<Value> {
    let fields = payload.source()?;
    log.ignored_keys(&fields.unknown(SOURCE_KEYS));
    let source = Source::parse(&fields)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match action {
            Action::Check => check::run(&source, payload, log).await,
            Action::In(dir) => fetch::run(&source, payload, dir, log).await,
            Action::Out(dir) => push::run(&source, payload, dir, log).await,
        }
    })
}

/// Tells of retries.
fn on_retry(log: &Log) -> jb_oci::OnRetry {
    let log = *log;
    Arc::new(move |text: &str| log.warn(text))
}
