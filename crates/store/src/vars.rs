//! Local vars of a build: what `load_var` and `get` set for later steps. Values are sealed at rest.

use jb_model::{BuildId, Value};

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
        unfinished!(build, scope, name, value, redact)
    }

    /// All vars of a build by scope and name.
    pub async fn build_vars(&self, build: BuildId) -> Result<Vec<BuildVar>> {
        unfinished!(build)
    }
}
