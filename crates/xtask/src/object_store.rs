//! The object store of the tests, built once per machine and kept in the cache directory.

use std::path::PathBuf;

use crate::go;

const VERSION: &str = "v1.8.0";

/// Builds it when it is missing; returns where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let program =
        crate::images::cache()?.join(format!("object-store/versitygw-{VERSION}")).join("versitygw");
    let module = format!("github.com/versity/versitygw/cmd/versitygw@{VERSION}");
    go::kept(&module, &program, |program| go::install(&module, program))?;
    Ok(program)
}
