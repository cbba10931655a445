//! Reading typed fields out of a tree while building the normalised JSON beside them.
//!
//! `Go`'s JSON decoding sets the habits: null is the zero value of anything, and zero values are left out of the output.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::{Object, Value};
use jb_yaml::{Entry, Node, NodeKind, Span, float_text};

use crate::diagnostic::{Code, Diagnostic, Path, PathStep, Section, Severity};
use crate::json::go_json;

#[derive(Default)]
pub(crate) struct Decoder {
    pub(crate) diagnostics: Vec<Diagnostic>,
    path: Vec<PathStep>,
    /// Concourse's notation for the place of a step, e.g. `jobs.x`, `.plan`, `.do`, `[0]`.
    context: Vec<String>,
    /// Names of the prototypes that are built in.
    pub(crate) builtin: BTreeSet<String>,
}

/// The fields of one map, and the normalised object growing from them.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    known: BTreeSet<&'static str>,
    /// Whether numbers and booleans may stand where text is wanted. True for the sections of a pipeline outside its steps.
    loose: bool,
    pub(crate) out: Object,
}

/// Whether an empty value is part of the normalised JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    Keep,
    Omit,
}

impl<'n> Fields<'n> {
    /// The value of a key, unless it is missing or null; the key counts as known from now on.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.insert(key);
        self.find(key).filter(|node| !node.is_null())
    }

    /// The value of a key that is written, null included; `None` when it is missing or claimed already.
    pub(crate) fn claim(&mut self, key: &'static str) -> Option<&'n Node> {
        if self.known.insert(key) { self.find(key) } else { None }
    }

    pub(crate) fn find(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Whether the key is written, be it with null, and no field has claimed it.
    pub(crate) fn has_unclaimed(&self, key: &str) -> bool {
        !self.known.contains(key) && self.entries.iter().any(|entry| entry.key == key)
    }

    pub(crate) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.out.insert(key.to_owned(), value.into());
    }

    /// The entries no field has claimed, sorted by key.
    pub(crate) fn unknown(&self) -> Vec<&'n Entry> {
        let mut unknown: Vec<_> =
            self.entries.iter().filter(|entry| !self.known.contains(entry.key.as_str())).collect();
        unknown.sort_by(|a, b| a.key.cmp(&b.key));
        unknown
    }
}

impl Decoder {
    /// Whether a `run` step is of the built-in prototype of this name.
    pub(crate) fn is_builtin(&self, fields: &Fields<'_>, name: &str) -> bool {
        let kind = fields.find("type").and_then(Node::as_str);
        kind == Some(name) && self.builtin.contains(name)
    }

    /// Runs `read` with the path one step longer.
    pub(crate) fn within<T>(
        &mut self,
        step: impl Into<PathStep>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.path.push(step.into());
        let result = read(self);
        self.path.pop();
        result
    }

    /// Runs `read` with the step context longer by these parts.
    pub(crate) fn in_context<T>(
        &mut self,
        parts: &[String],
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let length = self.context.len();
        self.context.extend_from_slice(parts);
        let result = read(self);
        self.context.truncate(length);
        result
    }

    pub(crate) fn report(
        &mut self,
        severity: Severity,
        code: Code,
        section: Option<Section>,
        message: String,
        span: Span,
    ) {
        self.diagnostics.push(Diagnostic {
            severity,
            code,
            section,
            message,
            path: Path(self.path.clone()),
            span: span.is_known().then_some(span),
        });
    }

    /// An error that means the file is malformed.
    pub(crate) fn fail(&mut self, code: Code, message: impl Into<String>, span: Span) {
        self.report(Severity::Error, code, None, message.into(), span);
    }

    /// An error of a step, reported among the errors of jobs with its context in front.
    pub(crate) fn fail_step(&mut self, code: Code, message: &str, span: Span) {
        let message = format!("{}: {message}", self.context.concat());
        self.report(Severity::Error, code, Some(Section::Jobs), message, span);
    }

    pub(crate) fn wrong_type(&mut self, wanted: &str, node: &Node) {
        let message = format!("expected {wanted}, found {}", node.value.describe());
        self.fail(Code::WrongType, message, node.span);
    }

    /// Opens a map for reading its fields. Null is a map without keys.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, loose: bool) -> Option<Fields<'n>> {
        let entries: &[Entry] = match &node.value {
            NodeKind::Map(entries) => entries,
            NodeKind::Null => &[],
            _ => {
                self.wrong_type("a map", node);
                return None;
            }
        };
        Some(Fields { entries, known: BTreeSet::new(), loose, out: Object::new() })
    }

    /// Ends the reading of a map in which unknown keys are errors.
    pub(crate) fn close(&mut self, fields: Fields<'_>) -> Object {
        for entry in fields.unknown() {
            let message = format!("unknown field '{}'", entry.key);
            self.fail(Code::UnknownField, message, entry.key_span);
        }
        fields.out
    }

    /// Ends the reading of a map in which Concourse ignores unknown keys without a word; here they are a warning.
    pub(crate) fn close_lenient(&mut self, fields: Fields<'_>) -> Object {
        for entry in fields.unknown() {
            let mut message = self.context.concat();
            if message.is_empty() {
                message = Path(self.path.clone()).to_string();
            }
            let colon = if message.is_empty() { "" } else { ": " };
            message = format!("{message}{colon}unknown field '{}' is ignored", entry.key);
            let section = Some(Section::Jobs);
            self.report(Severity::Warning, Code::Pipeline, section, message, entry.key_span);
        }
        fields.out
    }

    pub(crate) fn text(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        empty: Empty,
    ) -> String {
        let loose = fields.loose;
        let text = match fields.take(key) {
            Some(node) => self.within(key, |d| d.text_of(node, loose)),
            None => String::new(),
        };
        if !text.is_empty() || empty == Empty::Keep {
            fields.put(key, text.clone());
        }
        text
    }

    fn text_of(&mut self, node: &Node, loose: bool) -> String {
        match &node.value {
            NodeKind::String(text) => text.clone(),
            NodeKind::Number(number) if loose => float_text(number),
            NodeKind::Bool(truth) if loose => truth.to_string(),
            NodeKind::Null => String::new(),
            _ => {
                self.wrong_type("a string", node);
                String::new()
            }
        }
    }

    pub(crate) fn flag(&mut self, fields: &mut Fields<'_>, key: &'static str) -> bool {
        let Some(node) = fields.take(key) else { return false };
        let NodeKind::Bool(truth) = node.value else {
            self.within(key, |d| d.wrong_type("a boolean", node));
            return false;
        };
        if truth {
            fields.put(key, true);
        }
        truth
    }

    /// A whole number; 0 when missing. Negative ones are the caller's to judge.
    pub(crate) fn integer(&mut self, fields: &mut Fields<'_>, key: &'static str) -> i64 {
        let Some(node) = fields.take(key) else { return 0 };
        let value = self.within(key, |d| d.integer_of(node));
        if value != 0 {
            fields.put(key, value);
        }
        value
    }

    pub(crate) fn integer_of(&mut self, node: &Node) -> i64 {
        let value = match &node.value {
            NodeKind::Number(number) => number.as_i64(),
            NodeKind::Null => Some(0),
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.wrong_type("a whole number", node);
            0
        })
    }

    pub(crate) fn texts(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<String> {
        let loose = fields.loose;
        let texts = self.list(fields, key, |d, node| d.text_of(node, loose));
        if !texts.is_empty() {
            fields.put(key, texts.clone());
        }
        texts
    }

    /// A list of tags; empty ones are dropped, and numbers are never taken for text.
    pub(crate) fn tags(&mut self, fields: &mut Fields<'_>) -> Vec<String> {
        let mut tags = self.list(fields, "tags", |d, node| d.text_of(node, false));
        tags.retain(|tag| !tag.is_empty());
        if !tags.is_empty() {
            fields.put("tags", tags.clone());
        }
        tags
    }

    /// Each element of a list read by `read`, without touching the normalised JSON.
    pub(crate) fn list<T>(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        mut read: impl FnMut(&mut Self, &Node) -> T,
    ) -> Vec<T> {
        let Some(node) = fields.take(key) else { return Vec::new() };
        self.within(key, |d| {
            let Some(items) = node.as_list() else {
                d.wrong_type("a list", node);
                return Vec::new();
            };
            items
                .iter()
                .enumerate()
                .map(|(index, item)| d.within(index, |d| read(d, item)))
                .collect()
        })
    }

    /// Free-form data that is left out when empty, such as `params`.
    pub(crate) fn object(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Object {
        let object = self.maybe_object(fields, key).unwrap_or_default();
        if !object.is_empty() {
            fields.put(key, object.clone());
        }
        object
    }

    /// Free-form data that is always shown, null when missing: `source`.
    pub(crate) fn source(&mut self, fields: &mut Fields<'_>) -> Object {
        let source = self.maybe_object(fields, "source");
        fields.put("source", source.clone().map_or(Value::Null, Value::Object));
        source.unwrap_or_default()
    }

    fn maybe_object(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<Object> {
        let node = fields.take(key)?;
        let Value::Object(object) = node.to_json() else {
            self.within(key, |d| d.wrong_type("a map", node));
            return None;
        };
        Some(object)
    }

    /// A map of strings, such as a version.
    pub(crate) fn text_map(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
    ) -> Option<BTreeMap<String, String>> {
        let loose = fields.loose;
        let node = fields.take(key)?;
        let map = self.within(key, |d| d.text_map_of(node, loose));
        if !map.is_empty() {
            fields.put(key, text_map_value(&map));
        }
        Some(map)
    }

    pub(crate) fn text_map_of(&mut self, node: &Node, loose: bool) -> BTreeMap<String, String> {
        let Some(entries) = node.as_map() else {
            self.wrong_type("a map", node);
            return BTreeMap::new();
        };
        entries
            .iter()
            .map(|entry| {
                let text = self.within(entry.key.as_str(), |d| d.text_of(&entry.value, loose));
                (entry.key.clone(), text)
            })
            .collect()
    }

    /// An environment: scalars become text, null is empty, lists and maps become JSON.
    pub(crate) fn environment(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
    ) -> BTreeMap<String, String> {
        let Some(node) = fields.take(key) else { return BTreeMap::new() };
        let Some(entries) = node.as_map() else {
            self.within(key, |d| d.wrong_type("a map", node));
            return BTreeMap::new();
        };
        let map: BTreeMap<String, String> = entries
            .iter()
            .map(|entry| {
                let text = match &entry.value.value {
                    NodeKind::String(text) => text.clone(),
                    NodeKind::Null => String::new(),
                    _ => go_json(&entry.value.to_json()),
                };
                (entry.key.clone(), text)
            })
            .collect();
        if !map.is_empty() {
            fields.put(key, text_map_value(&map));
        }
        map
    }

    /// A number that must fit a count; a negative one is a malformed file.
    pub(crate) fn count(&mut self, fields: &mut Fields<'_>, key: &'static str) -> u32 {
        let span = fields.find(key).map(|node| node.span).unwrap_or_default();
        let value = self.integer(fields, key);
        u32::try_from(value).unwrap_or_else(|_| {
            let message = format!("must be between 0 and {}, not {value}", u32::MAX);
            self.within(key, |d| d.fail(Code::InvalidValue, message, span));
            0
        })
    }
}

pub(crate) fn text_map_value(map: &BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(key, text)| (key.clone(), Value::from(text.clone()))).collect())
}
