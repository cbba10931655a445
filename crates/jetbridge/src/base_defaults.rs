//! `--base-resource-type-defaults`: what the operator puts under the sources of base resource types.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use jb_model::{Object, Value};
use jb_runtime::BaseType;
use jb_yaml::Node;

use crate::cli::TypeOptions;

const FLAG: &str = "--base-resource-type-defaults";

/// The defaults by type; none without the flag.
pub(crate) fn read(options: &TypeOptions) -> anyhow::Result<BTreeMap<String, Object>> {
    let Some(path) = &options.base_resource_type_defaults else { return Ok(BTreeMap::new()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{FLAG}: read {}", path.display()))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> anyhow::Result<BTreeMap<String, Object>> {
    let place = |node: &Node| format!("{FLAG}: {}:{}", path.display(), node.span);
    let root = jb_yaml::parse(text)
        .map_err(|error| anyhow::anyhow!("{FLAG}: {}: {error}", path.display()))?;
    if root.is_null() {
        return Ok(BTreeMap::new());
    }
    let Some(types) = root.as_map() else {
        let found = root.value.describe();
        bail!("{}: expected a map from resource types to sources, found {found}", place(&root));
    };
    let mut defaults = BTreeMap::new();
    for entry in types {
        let source = match entry.value.to_json() {
            Value::Object(source) => source,
            Value::Null => Object::new(),
            _ => bail!(
                "{}: the defaults of `{}` must be a map of source fields, not {}",
                place(&entry.value),
                entry.key,
                entry.value.value.describe()
            ),
        };
        defaults.insert(entry.key.clone(), source);
    }
    Ok(defaults)
}

/// A name that no base type has is most likely a typing error.
pub(crate) fn warn_of_unused(defaults: &BTreeMap<String, Object>, base_types: &[BaseType]) {
    let known: Vec<&str> = base_types.iter().map(|base| base.name.as_str()).collect();
    for name in defaults.keys().filter(|name| !known.contains(&name.as_str())) {
        tracing::warn!(
            "{FLAG} has defaults for `{name}`, which is no base resource type; there are {}",
            known.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn each_type_has_its_fields() {
        let text = "git: {depth: 1, uri: ((base))}\nmock:\n";
        let defaults = parse(Path::new("d.yml"), text).unwrap();
        assert_eq!(json!(defaults), json!({"git": {"depth": 1, "uri": "((base))"}, "mock": {}}));
        assert!(parse(Path::new("d.yml"), "").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_map_of_maps_is_refused_with_its_place() {
        for (text, said) in [
            ("- git\n", "d.yml:1:1: expected a map from resource types to sources, found a list"),
            (
                "mock: {}\ngit: 7\n",
                "d.yml:2:6: the defaults of `git` must be a map of source fields, not a number",
            ),
            ("git: {a: 1\n", "d.yml: line "),
            ("git: {}\ngit: {}\n", "d.yml: line 2, column 1: key 'git' is already given at line 1"),
        ] {
            let error = parse(Path::new("d.yml"), text).unwrap_err().to_string();
            assert!(error.starts_with(FLAG) && error.contains(said), "{error}");
        }
    }
}
