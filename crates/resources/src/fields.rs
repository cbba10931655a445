//! Typed reading of a JSON object, with the path of a wrong value in the error.

use anyhow::bail;
use serde_json::{Map, Value};

/// One JSON object and where it stands in the request. A null member counts as missing.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(path: impl Into<String>, value: Option<&'a Value>) -> anyhow::Result<Self> {
        let path = path.into();
        let map = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(other) => bail!("{path}: expected a map, got {}", name_of(other)),
        };
        Ok(Self { path, map })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_none_or(Map::is_empty)
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.into_iter().flat_map(|map| map.keys().map(String::as_str))
    }

    /// A string; a number stands for its text, because YAML makes numbers of unquoted tags, passwords and branches.
    pub(crate) fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
        self.value(key).map(|value| text_at(&self.path_of(key), value)).transpose()
    }

    /// Like [`Fields::text`], with the empty string counted as missing.
    pub(crate) fn filled(&self, key: &str) -> anyhow::Result<Option<String>> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    /// A string and nothing else.
    pub(crate) fn string(&self, key: &str) -> anyhow::Result<Option<String>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => {
                bail!("{}: expected a string, got {}", self.path_of(key), name_of(other))
            }
        }
    }

    /// A boolean, or the strings `"true"` and `"false"` that templates produce. Missing is `default`.
    pub(crate) fn flag(&self, key: &str, default: bool) -> anyhow::Result<bool> {
        Ok(self.optional_flag(key)?.unwrap_or(default))
    }

    pub(crate) fn optional_flag(&self, key: &str) -> anyhow::Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(other) => {
                bail!("{}: expected true or false, got {}", self.path_of(key), name_of(other))
            }
        }
    }

    /// A whole number of at least `least`, or its decimal text.
    pub(crate) fn count(&self, key: &str, least: u32) -> anyhow::Result<Option<u32>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= least => Ok(Some(number)),
            _ => bail!(
                "{}: expected a whole number from {least} to {}, got {}",
                self.path_of(key),
                u32::MAX,
                shown(value)
            ),
        }
    }

    /// A list of strings (numbers stand for their text). Missing is empty.
    pub(crate) fn texts(&self, key: &str) -> anyhow::Result<Vec<String>> {
        let texts = self.items(key)?.into_iter().map(|(path, value)| text_at(&path, value));
        texts.collect()
    }

    /// A list of maps. Missing is empty.
    pub(crate) fn maps(&self, key: &str) -> anyhow::Result<Vec<Fields<'a>>> {
        self.items(key)?.into_iter().map(|(path, value)| Fields::of(path, Some(value))).collect()
    }

    pub(crate) fn map(&self, key: &str) -> anyhow::Result<Fields<'a>> {
        Fields::of(self.path_of(key), self.value(key))
    }

    fn items(&self, key: &str) -> anyhow::Result<Vec<(String, &'a Value)>> {
        let path = self.path_of(key);
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let at = |(index, value)| (format!("{path}[{index}]"), value);
                Ok(items.iter().enumerate().map(at).collect())
            }
            Some(other) => bail!("{path}: expected a list, got {}", name_of(other)),
        }
    }

    /// Keys that are not among `known`, as paths.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<String> {
        self.keys().filter(|key| !known.contains(key)).map(|key| self.path_of(key)).collect()
    }
}

fn text_at(path: &str, value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => bail!("{path}: expected a string, got {}", name_of(other)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::String(_) => value.to_string(),
        other => name_of(other).to_owned(),
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests;
