//! What every request and response passes through.

pub(crate) mod compress;
pub(crate) mod security;
pub(crate) mod trace;
