//! The JSON document a script is given on stdin.

use std::io::Read;

use anyhow::{Context as _, bail};
use jb_model::script::Fields;
use serde_json::Value;

/// No real request comes near this; more is refused instead of filling memory.
const MAX_BYTES: u64 = 64 << 20;

/// `{"source": {…}, "version": {…}, "params": {…}}`, where each part may be missing or null.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) root: Value,
}

impl Payload {
    pub(crate) fn read(input: impl Read) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let mut input = input.take(MAX_BYTES + 1);
        input.read_to_end(&mut bytes).context("failed to read the request from stdin")?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!("invalid payload: the request on stdin is larger than {MAX_BYTES} bytes");
        }
        Self::parse(&bytes)
    }

    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let root: Value = serde_json::from_slice(bytes).map_err(|error| {
            anyhow::anyhow!("invalid payload: stdin is not a JSON request: {error}")
        })?;
        if !root.is_object() {
            bail!("invalid payload: stdin must be a JSON object with source, version and params");
        }
        Ok(Self { root })
    }

    pub(crate) fn source(&self) -> anyhow::Result<Fields<'_>> {
        Ok(Fields::of("source", self.root.get("source"))?)
    }

    pub(crate) fn params(&self) -> anyhow::Result<Fields<'_>> {
        Ok(Fields::of("params", self.root.get("params"))?)
    }

    /// Empty when there is no version yet, as on a resource's first check.
    pub(crate) fn version(&self) -> anyhow::Result<Fields<'_>> {
        Ok(Fields::of("version", self.root.get("version"))?)
    }
}
