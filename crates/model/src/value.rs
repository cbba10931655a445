//! Free-form data: sources, params and versions.

use std::collections::BTreeMap;

/// JSON-like data whose meaning belongs to a resource type or a task.
pub type Value = serde_json::Value;
/// A map of free-form data, sorted by key.
pub type Object = serde_json::Map<String, Value>;

/// What identifies a version of a resource: a flat map of strings.
pub type Version = BTreeMap<String, String>;

/// One line of what a `get` or `put` says about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub name: String,
    pub value: String,
}
