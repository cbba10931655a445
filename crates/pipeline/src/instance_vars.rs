//! Instance vars as text (`name/branch:feature,number:1`) and as query pairs (`vars.branch="feature"`).

use std::collections::BTreeMap;
use std::fmt;

use jb_model::{Object, Value};

use crate::json::go_json;
use crate::vars::{InvalidRef, VarRef, find_unquoted};

/// Why a text or a query does not hold instance vars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceVarsError {
    Key(InvalidRef),
    /// The value of a key is not YAML (in text) or JSON (in a query).
    Value {
        key: String,
        reason: String,
    },
    /// No `key:value` at all.
    NoPairs,
}

impl fmt::Display for InstanceVarsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstanceVarsError::Key(error) => error.fmt(f),
            InstanceVarsError::Value { key, reason } => {
                write!(f, "invalid value for key '{key}': {reason}")
            }
            InstanceVarsError::NoPairs => {
                f.write_str("instance vars should be formatted as <key1:value1>(,<key2:value2>)")
            }
        }
    }
}

impl std::error::Error for InstanceVarsError {}

/// The leaves of the vars with the path of each, sorted by the path's text. Lists are leaves; empty maps have none.
pub fn flatten(vars: &Object) -> Vec<(VarRef, Value)> {
    let mut leaves = BTreeMap::new();
    for (key, value) in vars {
        let reference = VarRef { path: key.clone(), ..VarRef::default() };
        collect_leaves(reference, value, &mut leaves);
    }
    leaves.into_values().collect()
}

fn collect_leaves(
    reference: VarRef,
    value: &Value,
    leaves: &mut BTreeMap<String, (VarRef, Value)>,
) {
    let Value::Object(map) = value else {
        leaves.insert(reference.to_string(), (reference, value.clone()));
        return;
    };
    for (key, value) in map {
        let mut reference = reference.clone();
        reference.fields.push(key.clone());
        collect_leaves(reference, value, leaves);
    }
}

/// Builds vars from paths and values; a later pair wins over an earlier one at the same place.
pub fn expand(pairs: impl IntoIterator<Item = (VarRef, Value)>) -> Object {
    let mut vars = Object::new();
    for (reference, value) in pairs {
        upsert(&mut vars, &reference.path, &reference.fields, value);
    }
    vars
}

fn upsert(vars: &mut Object, key: &str, fields: &[String], value: Value) {
    match (vars.get_mut(key), fields) {
        (Some(Value::Object(inner)), [first, rest @ ..]) => upsert(inner, first, rest, value),
        _ => {
            let nested = fields.iter().rev().fold(value, |value, field| {
                Value::Object(Object::from_iter([(field.clone(), value)]))
            });
            vars.insert(key.to_owned(), nested);
        }
    }
}

/// The vars as `branch:feature,"some.key":1`: sorted, values as JSON, strings bare when that reads back the same.
pub fn to_text(vars: &Object) -> String {
    let pairs: Vec<String> = flatten(vars)
        .into_iter()
        .map(|(reference, value)| {
            let text = match &value {
                Value::String(text) if !needs_quotes(text) => {
                    let quoted = go_json(&value);
                    let inner = quoted.strip_prefix('"').unwrap_or(&quoted);
                    inner.strip_suffix('"').unwrap_or(inner).to_owned()
                }
                other => go_json(other),
            };
            format!("{reference}:{text}")
        })
        .collect();
    pairs.join(",")
}

fn needs_quotes(text: &str) -> bool {
    let reads_as_text = jb_yaml::parse(text).is_ok_and(|node| node.as_str().is_some());
    !reads_as_text || text.contains([',', ':', ' ', '/'])
}

/// A pipeline's name with its instance vars: `name` or `name/branch:feature`.
pub fn pipeline_text(name: &str, vars: Option<&Object>) -> String {
    match vars {
        Some(vars) => format!("{name}/{}", to_text(vars)),
        None => name.to_owned(),
    }
}

/// Reads `name` or `name/key:value,…`.
pub fn parse_pipeline_text(text: &str) -> Result<(String, Option<Object>), InstanceVarsError> {
    match text.split_once('/') {
        None => Ok((text.to_owned(), None)),
        Some((name, vars)) => Ok((name.to_owned(), Some(parse_text(vars)?))),
    }
}

/// Reads `key:value,key2.field:value`. Values are YAML; a comma inside quotes, braces or brackets belongs to the value.
pub fn parse_text(text: &str) -> Result<Object, InstanceVarsError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some(colon) = find_unquoted(rest, ':') {
        let key = &rest[..colon];
        let reference = VarRef::parse(key).map_err(InstanceVarsError::Key)?;
        rest = &rest[colon + 1..];
        let comma = value_end(rest);
        let raw = comma.map_or(rest, |comma| &rest[..comma]);
        let value = jb_yaml::parse(raw).map_err(|error| InstanceVarsError::Value {
            key: key.to_owned(),
            reason: error.to_string(),
        })?;
        pairs.push((reference, value.to_json()));
        match comma {
            Some(comma) => rest = &rest[comma + 1..],
            None => break,
        }
    }
    if pairs.is_empty() {
        return Err(InstanceVarsError::NoPairs);
    }
    Ok(expand(pairs))
}

/// Where the comma after a value stands.
fn value_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let (mut braces, mut brackets) = (0_i64, 0_i64);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') if braces == 0 && brackets == 0 => return Some(at),
            (None, '{') => braces += 1,
            (None, '}') => braces -= 1,
            (None, '[') => brackets += 1,
            (None, ']') => brackets -= 1,
            (None, _) => {}
        }
    }
    None
}

/// The query pairs that name these vars, one per leaf: `vars.branch` with `"feature"`. Not yet percent-encoded.
pub fn to_query(vars: &Object) -> Vec<(String, String)> {
    flatten(vars)
        .into_iter()
        .map(|(reference, value)| (format!("vars.{reference}"), go_json(&value)))
        .collect()
}

/// Reads the vars out of decoded query pairs; others are passed over. `vars={…}` counts before `vars.x=…`, and of a key given
/// twice the first counts. `None` when the query has none.
pub fn from_query<'a>(
    query: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<Object>, InstanceVarsError> {
    let mut pairs = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in query {
        if (key != "vars" && !key.starts_with("vars.")) || !seen.insert(key) {
            continue;
        }
        let reference = VarRef::parse(key).map_err(InstanceVarsError::Key)?;
        let value = serde_json::from_str(value).map_err(|error| InstanceVarsError::Value {
            key: key.to_owned(),
            reason: format!("not JSON: {error}"),
        })?;
        pairs.insert(reference.to_string(), (reference, value));
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    match expand(pairs.into_values()).remove("vars") {
        Some(Value::Object(vars)) => Ok(Some(vars)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
