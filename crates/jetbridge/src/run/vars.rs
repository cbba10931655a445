//! Vars from the command line, as `fly set-pipeline` takes them.

use anyhow::{Context as _, bail};
use jb_model::{Object, Value};
use jb_pipeline::vars::VarRef;

use crate::cli::RunOptions;

/// Flags win over files; of files the last.
pub(crate) fn collect(options: &RunOptions) -> anyhow::Result<Object> {
    let mut vars = Object::new();
    for file in &options.load_vars_from {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        match yaml(&file.display().to_string(), &text)? {
            Value::Object(fields) => vars.extend(fields),
            Value::Null => {}
            other => bail!("{} is no map of vars: {other}", file.display()),
        }
    }
    for pair in &options.var {
        let (name, value) = split("--var", pair)?;
        set(&mut vars, name, Value::String(value.to_owned()))?;
    }
    for pair in &options.yaml_var {
        let (name, value) = split("--yaml-var", pair)?;
        set(&mut vars, name, yaml(pair, value)?)?;
    }
    Ok(vars)
}

fn split<'a>(flag: &str, pair: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    pair.split_once('=').with_context(|| format!("{flag} `{pair}` is not written as NAME=VALUE"))
}

fn yaml(place: &str, text: &str) -> anyhow::Result<Value> {
    let node = jb_yaml::parse(text).map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
    Ok(node.to_json())
}

/// Sets a var; `a.b=c` sets a field of `a`.
fn set(vars: &mut Object, name: &str, value: Value) -> anyhow::Result<()> {
    let reference = VarRef::parse(name).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut fields = vars;
    let mut key = reference.path;
    for next in reference.fields {
        let entry = fields.entry(key).or_insert_with(|| Value::Object(Object::new()));
        let Value::Object(inner) = entry else {
            bail!("`{name}` sets a field of something that is no map");
        };
        fields = inner;
        key = next;
    }
    fields.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn dotted_names_set_fields() {
        let mut vars = Object::new();
        set(&mut vars, "a.b", json!("x")).unwrap();
        set(&mut vars, "a.c", json!(1)).unwrap();
        set(&mut vars, "\"d.e\"", json!(true)).unwrap();
        assert_eq!(Value::Object(vars.clone()), json!({"a": {"b": "x", "c": 1}, "d.e": true}));
        assert!(set(&mut vars, "a.b.z", json!(1)).is_err());
    }
}
