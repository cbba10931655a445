//! Local vars of a build: what `load_var` and `get` set for later steps. Values are sealed at rest.

use jb_model::{BuildId, Value};

use crate::sql::args;
use crate::store::transact;
use crate::{Result, Store};

/// A var of a build.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildVar {
    /// Where it is seen, as the build machine names scopes.
    pub scope: String,
    pub name: String,
    pub value: Value,
    /// Whether the value must not show in logs.
    pub redact: bool,
}

impl Store {
    /// Sets a var, replacing a former value.
    pub async fn set_build_var(
        &self,
        build: BuildId,
        scope: &str,
        name: &str,
        value: &Value,
        redact: bool,
    ) -> Result<()> {
        transact!(self, async |tx| {
            let sealed = tx.sealed("build_vars.value", value)?;
            tx.execute(
                "INSERT INTO build_vars (build_id, scope, name, value, redact)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (build_id, scope, name) DO UPDATE
                 SET value = excluded.value, redact = excluded.redact",
                args![build, scope, name, sealed, redact],
            )
            .await
            .map(drop)
        })
    }

    /// All vars of a build by scope and name.
    pub async fn build_vars(&self, build: BuildId) -> Result<Vec<BuildVar>> {
        let rows = self
            .rows(
                "SELECT scope, name, value, redact FROM build_vars WHERE build_id = $1
                 ORDER BY scope, name",
                args![build],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(BuildVar {
                    scope: row.req_text("scope")?,
                    name: row.req_text("name")?,
                    value: self.unsealed("build_vars.value", row.req_text("value")?)?,
                    redact: row.req_bool("redact")?,
                })
            })
            .collect()
    }
}
