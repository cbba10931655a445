//! Vars of a build: secrets from var sources, local vars of earlier steps, values of `across`.

use std::collections::BTreeMap;

use jb_model::config::VarSourceConfig;
use jb_model::{Object, Value};
use jb_pipeline::vars::{Missing, VarRef, interpolate, traverse};
use jb_store::BuildVar;

use super::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// The scope of secrets that were used, which no step is in.
const SECRETS: &str = "secrets";

/// The secrets of a pipeline's var sources, ready to be looked up.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// Vars of each `dummy` source.
    dummies: BTreeMap<String, Object>,
    /// Sources of kinds that need a credential manager.
    others: BTreeMap<String, String>,
}

impl Secrets {
    /// Sources may refer to earlier ones in their configuration, in whatever order they are written.
    pub(crate) fn new(sources: &[VarSourceConfig]) -> Result<Self, String> {
        let mut secrets = Self::default();
        let mut waiting: Vec<&VarSourceConfig> = sources.iter().collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut unresolved = Vec::new();
            for source in waiting {
                match interpolate(&source.config, Missing::Fail, |var| secrets.lookup(var)) {
                    Ok(config) => secrets.add(source, &config),
                    Err(error) => unresolved.push((source, error.to_string())),
                }
            }
            if unresolved.len() == before {
                let (source, error) = &unresolved[0];
                return Err(format!("var source `{}`: {error}", source.name));
            }
            waiting = unresolved.into_iter().map(|(source, _)| source).collect();
        }
        Ok(secrets)
    }

    fn add(&mut self, source: &VarSourceConfig, config: &Value) {
        if source.kind == "dummy" {
            let vars = config.get("vars").and_then(Value::as_object).cloned().unwrap_or_default();
            self.dummies.insert(source.name.clone(), vars);
        } else {
            self.others.insert(source.name.clone(), source.kind.clone());
        }
    }

    /// The value of a reference to a secret. This server has no global credential manager, so
    /// references without a source have none.
    pub(crate) fn lookup(&self, var: &VarRef) -> Result<Option<Value>, String> {
        if var.source.is_empty() {
            return Ok(None);
        }
        if let Some(kind) = self.others.get(&var.source) {
            return Err(format!(
                "var source `{}` has the type `{kind}`, which this server cannot read; use `dummy`",
                var.source
            ));
        }
        let Some(vars) = self.dummies.get(&var.source) else {
            return Err(format!("missing source '{}' in var: {var}", var.source));
        };
        match vars.get(&var.path) {
            Some(value) => field(value, var).map(Some),
            None => Ok(None),
        }
    }
}

fn field(value: &Value, var: &VarRef) -> Result<Value, String> {
    traverse(value, var).cloned().map_err(|error| error.to_string())
}

/// Every var a step can see.
struct Visible<'a> {
    secrets: &'a Secrets,
    /// The build's own vars in the step's scopes, innermost first.
    local: Vec<&'a BuildVar>,
    across: &'a [(String, Value)],
}

impl Visible<'_> {
    fn lookup(&self, var: &VarRef) -> Result<Option<Value>, String> {
        if !var.is_local() {
            return self.secrets.lookup(var);
        }
        let across = self.across.iter().find(|(name, _)| *name == var.path).map(|(_, value)| value);
        let local =
            self.local.iter().find(|known| known.name == var.path).map(|known| &known.value);
        match local.or(across) {
            Some(value) => field(value, var).map(Some),
            None => Ok(None),
        }
    }
}

impl BuildContext {
    /// Replaces every reference in a value; references to secrets are remembered for masking.
    pub(crate) async fn interpolate(&self, leaf: &Leaf, value: &Value) -> Result<Value, Trouble> {
        if jb_pipeline::vars::var_refs(value).is_empty() {
            return Ok(value.clone());
        }
        let result =
            self.with_vars(leaf, |lookup| interpolate(value, Missing::Fail, lookup)).await?;
        result.map_err(|error| Trouble::new(error.to_string()))
    }

    /// Calls `resolve` with a lookup of every var the step can see; secrets it gives out are
    /// remembered for masking.
    pub(super) async fn with_vars<R>(
        &self,
        leaf: &Leaf,
        resolve: impl FnOnce(&mut dyn FnMut(&VarRef) -> Result<Option<Value>, String>) -> R,
    ) -> Result<R, Trouble> {
        let secrets = Secrets::new(&self.var_sources).map_err(Trouble::new)?;
        let vars = self.engine.store.build_vars(self.build.id).await?;
        let visible =
            Visible { secrets: &secrets, local: in_scopes(leaf, &vars), across: &leaf.across_vars };
        let mut used = Vec::new();
        let resolved = resolve(&mut |var| {
            let found = visible.lookup(var)?;
            if let (false, Some(secret)) = (var.is_local(), &found) {
                used.push((var.to_string(), secret.clone()));
            }
            Ok(found)
        });
        for (name, secret) in used {
            self.add_secret(&secret);
            // A later step may print it after a restart.
            if !vars.iter().any(|known| known.scope == SECRETS && known.name == name) {
                let store = &self.engine.store;
                store.set_build_var(self.build.id, SECRETS, &name, &secret, true).await?;
            }
        }
        Ok(resolved)
    }

    pub(crate) async fn interpolate_object(
        &self,
        leaf: &Leaf,
        object: &Object,
    ) -> Result<Object, Trouble> {
        match self.interpolate(leaf, &Value::Object(object.clone())).await? {
            Value::Object(object) => Ok(object),
            other => Err(Trouble::new(format!("expected a map of fields, not {other}"))),
        }
    }

    pub(crate) async fn interpolate_text(
        &self,
        leaf: &Leaf,
        text: &str,
    ) -> Result<String, Trouble> {
        match self.interpolate(leaf, &Value::String(text.to_owned())).await? {
            Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        }
    }

    /// The value of a var by its name, as between the parentheses of `((…))`. One that names no source is looked for among
    /// the build's own first.
    pub(crate) async fn var(&self, leaf: &Leaf, name: &str) -> Result<Value, Trouble> {
        let named = VarRef::parse(name).map_err(|error| Trouble::new(error.to_string()))?;
        let local = VarRef { source: ".".to_owned(), ..named.clone() };
        let found = self
            .with_vars(leaf, |lookup| {
                let local = if named.source.is_empty() { lookup(&local)? } else { None };
                local.map_or_else(|| lookup(&named), |value| Ok(Some(value)))
            })
            .await?;
        let found = found.map_err(Trouble::new)?;
        found.ok_or_else(|| Trouble::new(format!("there is no var `{name}`")))
    }

    /// Sets a local var for later steps of the same scope and those inside it.
    pub(crate) async fn set_var(
        &self,
        leaf: &Leaf,
        name: &str,
        value: Value,
        redact: bool,
    ) -> Result<(), Trouble> {
        if redact {
            self.add_private(&value);
        }
        let scope = scope_name(leaf);
        self.engine.store.set_build_var(self.build.id, &scope, name, &value, redact).await?;
        Ok(())
    }

    /// How long the step's process may run: the plan's limit if it is written with vars, or the server's default.
    pub(crate) async fn time_limit(
        &self,
        leaf: &Leaf,
    ) -> Result<Option<std::time::Duration>, Trouble> {
        use jb_model::PlanStep;
        let defaults = &self.engine.settings.default_timeouts;
        let (written, default) = match &leaf.plan.step {
            PlanStep::Get(plan) => (&plan.timeout, defaults.get),
            PlanStep::Put(plan) => (&plan.timeout, defaults.put),
            PlanStep::Task(plan) => (&plan.timeout, defaults.task),
            PlanStep::Check(plan) => (&plan.timeout, Some(defaults.check)),
            PlanStep::Approve(plan) => (&plan.timeout, None),
            _ => return Ok(None),
        };
        match written.as_str() {
            "" => Ok(default),
            written => self.duration(leaf, "timeout", written).await,
        }
    }

    /// A duration as it is written in the plan, with its vars.
    pub(crate) async fn duration(
        &self,
        leaf: &Leaf,
        what: &str,
        written: &str,
    ) -> Result<Option<std::time::Duration>, Trouble> {
        let text = self.interpolate_text(leaf, written).await?;
        let duration = jb_model::duration::parse_duration(&text)
            .map_err(|error| Trouble::new(format!("{what} `{text}`: {error}")))?;
        Ok(duration.to_std())
    }
}

/// The vars of the step's scopes, innermost first.
fn in_scopes<'a>(leaf: &Leaf, vars: &'a [BuildVar]) -> Vec<&'a BuildVar> {
    let scopes = leaf.scope.iter().map(jb_model::PlanId::as_str).chain([""]);
    scopes.flat_map(|scope| vars.iter().filter(move |var| var.scope == scope)).collect()
}

/// The name of a step's innermost scope; empty for the build itself.
pub(super) fn scope_name(leaf: &Leaf) -> String {
    leaf.scope.first().map(|scope| scope.as_str().to_owned()).unwrap_or_default()
}

/// Every text in a value.
pub(crate) fn texts(value: &Value, take: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Number(number) => take(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, take)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, take)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The texts of a local var that stay out of logs. Items of lists are no secrets, as in Concourse:
/// `across` runs over them in public.
pub(crate) fn private_texts(value: &Value, take: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Object(fields) => fields.values().for_each(|field| private_texts(field, take)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
}

#[cfg(test)]
mod tests;
