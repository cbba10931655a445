//! Typed reading of a JSON object, with the path of a wrong value in the error.

use std::fmt;

use serde_json::{Map, Value};

/// A value of the wrong kind; the text names its path and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError(String);

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FieldError {}

fn expected(path: &str, what: &str, found: &str) -> FieldError {
    FieldError(format!("{path}: expected {what}, got {found}"))
}

/// One JSON object and where it stands in the request. A null member counts as missing.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    pub fn of(path: impl Into<String>, value: Option<&'a Value>) -> Result<Self, FieldError> {
        let path = path.into();
        let map = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(other) => return Err(expected(&path, "a map", name_of(other))),
        };
        Ok(Self { path, map })
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_none_or(Map::is_empty)
    }

    pub fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.into_iter().flat_map(|map| map.keys().map(String::as_str))
    }

    /// A string; a number stands for its text, because YAML makes numbers of unquoted tags, passwords and branches.
    pub fn text(&self, key: &str) -> Result<Option<String>, FieldError> {
        self.value(key).map(|value| text_at(&self.path_of(key), value)).transpose()
    }

    /// Like [`Fields::text`], with the empty string counted as missing.
    pub fn filled(&self, key: &str) -> Result<Option<String>, FieldError> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    /// A string and nothing else.
    pub fn string(&self, key: &str) -> Result<Option<String>, FieldError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(expected(&self.path_of(key), "a string", name_of(other))),
        }
    }

    /// A boolean, or the strings `"true"` and `"false"` that templates produce. Missing is `default`.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, FieldError> {
        Ok(self.optional_flag(key)?.unwrap_or(default))
    }

    pub fn optional_flag(&self, key: &str) -> Result<Option<bool>, FieldError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(other) => Err(expected(&self.path_of(key), "true or false", name_of(other))),
        }
    }

    /// A whole number of at least `least`, or its decimal text.
    pub fn count(&self, key: &str, least: u32) -> Result<Option<u32>, FieldError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= least => Ok(Some(number)),
            _ => {
                let range = format!("a whole number from {least} to {}", u32::MAX);
                Err(expected(&self.path_of(key), &range, &shown(value)))
            }
        }
    }

    /// A list of strings (numbers stand for their text). Missing is empty.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, FieldError> {
        let texts = self.items(key)?.into_iter().map(|(path, value)| text_at(&path, value));
        texts.collect()
    }

    /// A list of maps. Missing is empty.
    pub fn maps(&self, key: &str) -> Result<Vec<Fields<'a>>, FieldError> {
        self.items(key)?.into_iter().map(|(path, value)| Fields::of(path, Some(value))).collect()
    }

    pub fn map(&self, key: &str) -> Result<Fields<'a>, FieldError> {
        Fields::of(self.path_of(key), self.value(key))
    }

    fn items(&self, key: &str) -> Result<Vec<(String, &'a Value)>, FieldError> {
        let path = self.path_of(key);
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let at = |(index, value)| (format!("{path}[{index}]"), value);
                Ok(items.iter().enumerate().map(at).collect())
            }
            Some(other) => Err(expected(&path, "a list", name_of(other))),
        }
    }

    /// Keys that are not among `known`, as paths.
    pub fn unknown(&self, known: &[&str]) -> Vec<String> {
        self.keys().filter(|key| !known.contains(key)).map(|key| self.path_of(key)).collect()
    }
}

fn text_at(path: &str, value: &Value) -> Result<String, FieldError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(expected(path, "a string", name_of(other))),
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
