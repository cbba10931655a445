//! `registry-image`.
use serde_json::Value;

use crate::invocation::Action;
use crate::log::Log;
use crate::payload::Payload;

pub(crate) fn run(_: &Action, _: &Payload, _: &Log) -> anyhow::Result<Value> {
    anyhow::bail!("registry-image is not part of this build")
}
