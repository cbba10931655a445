//! The tree a text becomes.

use std::fmt;

use serde_json::{Map, Number, Value};

/// Where something starts in the text. Line and column count from 1; the column counts characters.
///
/// The default, line 0, means "nowhere": the value did not come from a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub line: u32,
    pub column: u32,
}

impl Span {
    /// Whether the value came from a text at all.
    pub fn is_known(self) -> bool {
        self.line > 0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and the place it was written at. What came through an alias keeps the place of its anchor.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: NodeKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    Null,
    Bool(bool),
    /// Never infinite and never "not a number": those are errors while reading.
    Number(Number),
    String(String),
    List(Vec<Node>),
    /// In the order written; keys are distinct.
    Map(Vec<Entry>),
}

/// One key of a map. Keys that are not text in the source (numbers, booleans) have become text.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl NodeKind {
    /// The value's kind in words, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            NodeKind::Null => "null",
            NodeKind::Bool(_) => "a boolean",
            NodeKind::Number(_) => "a number",
            NodeKind::String(_) => "a string",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }
}

impl Node {
    pub fn new(value: NodeKind, span: Span) -> Self {
        Node { value, span }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, NodeKind::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            NodeKind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The same data without positions.
    pub fn to_json(&self) -> Value {
        match &self.value {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(truth) => Value::Bool(*truth),
            NodeKind::Number(number) => Value::Number(number.clone()),
            NodeKind::String(text) => Value::String(text.clone()),
            NodeKind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            NodeKind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The same data as a tree in which every value has the given place.
    pub fn from_json(value: &Value, span: Span) -> Self {
        let kind = match value {
            Value::Null => NodeKind::Null,
            Value::Bool(truth) => NodeKind::Bool(*truth),
            Value::Number(number) => NodeKind::Number(number.clone()),
            Value::String(text) => NodeKind::String(text.clone()),
            Value::Array(items) => {
                NodeKind::List(items.iter().map(|item| Node::from_json(item, span)).collect())
            }
            Value::Object(map) => NodeKind::Map(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_span: span,
                        value: Node::from_json(value, span),
                    })
                    .collect(),
            ),
        };
        Node::new(kind, span)
    }
}
