//! Putting values in place of references, in plain data and in trees with positions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jb_model::{Object, Value};
use jb_yaml::{Entry, Node, NodeKind};

use super::reference::{FieldError, InvalidRef, Piece, VarRef, kind_of, scan_text};

/// What to do about a var without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Fail, naming all of them.
    Fail,
    /// Leave the reference as it is, for a later pass.
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterpolateError<E> {
    Invalid(InvalidRef),
    /// All vars without a value, sorted.
    Undefined(Vec<String>),
    /// A list, map, boolean or null inside other text.
    NotPrimitive {
        name: String,
        found: &'static str,
    },
    /// A map key that became something other than text.
    BadKey {
        key: String,
        found: &'static str,
    },
    /// The inserted values are more than [`MAX_INSERTED_BYTES`] together.
    TooLarge,
    /// A field that the value of a plain var does not have.
    Field(FieldError),
    /// What the lookup itself said.
    Lookup(E),
}

/// How much text one pass may insert, so that a long value used often cannot fill the memory.
pub const MAX_INSERTED_BYTES: usize = 64 << 20;

impl<E: fmt::Display> fmt::Display for InterpolateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterpolateError::Invalid(error) => error.fmt(f),
            InterpolateError::Undefined(names) => write!(f, "undefined vars: {}", names.join(", ")),
            InterpolateError::NotPrimitive { name, found } => {
                write!(f, "cannot interpolate non-primitive value ({found}) from var: {name}")
            }
            InterpolateError::BadKey { key, found } => {
                write!(f, "cannot use a value ({found}) as the map key '{key}'")
            }
            InterpolateError::TooLarge => {
                write!(f, "the values of the vars come to more than {MAX_INSERTED_BYTES} bytes")
            }
            InterpolateError::Field(error) => error.fmt(f),
            InterpolateError::Lookup(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for InterpolateError<E> {}

/// Replaces every reference in `value` by what `lookup` says. `Ok(None)` means the var has no value.
pub fn interpolate<E>(
    value: &Value,
    missing: Missing,
    lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Result<Value, InterpolateError<E>> {
    let mut pass = Pass::new(lookup);
    let result = pass.value(value)?;
    pass.end(missing)?;
    Ok(result)
}

/// The same for a tree with positions. Inserted values have the place of the reference.
pub fn interpolate_node<E>(
    node: &Node,
    missing: Missing,
    lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Result<Node, InterpolateError<E>> {
    let mut pass = Pass::new(lookup);
    let result = pass.node(node)?;
    pass.end(missing)?;
    Ok(result)
}

/// Every well-formed reference in the value and its map keys, sorted, each once.
pub fn var_refs(value: &Value) -> Vec<VarRef> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found.into_iter().collect()
}

fn collect(value: &Value, found: &mut BTreeSet<VarRef>) {
    match value {
        Value::String(text) => collect_text(text, found),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                collect_text(key, found);
                collect(value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn collect_text(text: &str, found: &mut BTreeSet<VarRef>) {
    for piece in scan_text(text) {
        if let Piece::Var(name) = piece
            && let Ok(reference) = VarRef::parse(name)
        {
            found.insert(reference);
        }
    }
}

struct Pass<L> {
    lookup: L,
    undefined: BTreeSet<String>,
    inserted: usize,
}

impl<E, L: FnMut(&VarRef) -> Result<Option<Value>, E>> Pass<L> {
    fn new(lookup: L) -> Self {
        Pass { lookup, undefined: BTreeSet::new(), inserted: 0 }
    }

    fn end(self, missing: Missing) -> Result<(), InterpolateError<E>> {
        if missing == Missing::Fail && !self.undefined.is_empty() {
            return Err(InterpolateError::Undefined(self.undefined.into_iter().collect()));
        }
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<Value, InterpolateError<E>> {
        Ok(match value {
            Value::String(text) => self.text(text)?,
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let mut result = Object::new();
                for (key, value) in map {
                    let value = self.value(value)?;
                    result.insert(self.key(key)?, value);
                }
                Value::Object(result)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn node(&mut self, node: &Node) -> Result<Node, InterpolateError<E>> {
        let kind = match &node.value {
            NodeKind::String(text) => return Ok(Node::from_json(&self.text(text)?, node.span)),
            NodeKind::List(items) => {
                NodeKind::List(items.iter().map(|item| self.node(item)).collect::<Result<_, _>>()?)
            }
            NodeKind::Map(entries) => {
                let mut result: Vec<Entry> = Vec::with_capacity(entries.len());
                let mut index = BTreeMap::new();
                for entry in entries {
                    let value = self.node(&entry.value)?;
                    let key = self.key(&entry.key)?;
                    let entry = Entry { key, key_span: entry.key_span, value };
                    let at = *index.entry(entry.key.clone()).or_insert(result.len());
                    match result.get_mut(at) {
                        Some(same_key) => *same_key = entry,
                        None => result.push(entry),
                    }
                }
                NodeKind::Map(result)
            }
            other => other.clone(),
        };
        Ok(Node::new(kind, node.span))
    }

    fn key(&mut self, key: &str) -> Result<String, InterpolateError<E>> {
        match self.text(key)? {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            other => Err(InterpolateError::BadKey { key: key.to_owned(), found: kind_of(&other) }),
        }
    }

    fn text(&mut self, text: &str) -> Result<Value, InterpolateError<E>> {
        let pieces = scan_text(text);
        if let [Piece::Var(name)] = pieces[..] {
            return Ok(self.var(name)?.unwrap_or_else(|| Value::String(text.to_owned())));
        }
        let mut result = String::with_capacity(text.len());
        for piece in pieces {
            match piece {
                Piece::Text(plain) => result.push_str(plain),
                Piece::Var(name) => match self.var(name)? {
                    Some(Value::String(value)) => result.push_str(&value),
                    Some(Value::Number(value)) => result.push_str(&value.to_string()),
                    Some(other) => {
                        let (name, found) = (name.to_owned(), kind_of(&other));
                        return Err(InterpolateError::NotPrimitive { name, found });
                    }
                    None => {
                        result.push_str("((");
                        result.push_str(name);
                        result.push_str("))");
                    }
                },
            }
        }
        Ok(Value::String(result))
    }

    fn var(&mut self, name: &str) -> Result<Option<Value>, InterpolateError<E>> {
        let reference = VarRef::parse(name).map_err(InterpolateError::Invalid)?;
        let value = (self.lookup)(&reference).map_err(InterpolateError::Lookup)?;
        match &value {
            None => {
                self.undefined.insert(reference.to_string());
            }
            Some(value) => {
                self.inserted = self.inserted.saturating_add(weight(value));
                if self.inserted > MAX_INSERTED_BYTES {
                    return Err(InterpolateError::TooLarge);
                }
            }
        }
        Ok(value)
    }
}

/// Roughly what a value takes, in bytes.
fn weight(value: &Value) -> usize {
    const NODE: usize = 16;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => NODE + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => {
            NODE + map.iter().map(|(key, value)| NODE + key.len() + weight(value)).sum::<usize>()
        }
    }
}
