//! One reference: `source:path.field."quoted.field"`.

use std::fmt;

use jb_model::{Object, Value};

/// What stands between `((` and `))`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarRef {
    /// A var source, `.` for the build's local vars, or empty for the global secrets.
    pub source: String,
    pub path: String,
    pub fields: Vec<String>,
}

/// A text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRef {
    pub text: String,
    pub reason: &'static str,
}

impl fmt::Display for InvalidRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid var '{}': {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidRef {}

impl VarRef {
    /// Reads `path.field`, `source:path` and so on. Segments may be quoted to hold any of `. : , /` and spaces.
    pub fn parse(text: &str) -> Result<Self, InvalidRef> {
        let invalid = |reason| InvalidRef { text: text.to_owned(), reason };
        let mut source = "";
        let mut rest = text;
        if let Some(colon) = find_unquoted(text, ':') {
            source = &text[..colon];
            if source.contains('"') {
                return Err(invalid("source must not be quoted"));
            }
            rest = &text[colon + 1..];
        }
        let mut segments = Vec::new();
        loop {
            let dot = find_unquoted(rest, '.');
            let segment = dot.map_or(rest, |dot| &rest[..dot]).trim().replace('"', "");
            if segment.is_empty() {
                return Err(invalid("empty field"));
            }
            segments.push(segment);
            match dot {
                Some(dot) => rest = &rest[dot + 1..],
                None => break,
            }
        }
        let path = segments.remove(0);
        Ok(VarRef { source: source.to_owned(), path, fields: segments })
    }

    /// Whether this is a local var of a build, `((.:name))`.
    pub fn is_local(&self) -> bool {
        self.source == "."
    }

    /// The name of the var without its fields, e.g. for telling which vars were used.
    pub fn without_fields(&self) -> VarRef {
        VarRef { source: self.source.clone(), path: self.path.clone(), fields: Vec::new() }
    }
}

impl fmt::Display for VarRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.source.is_empty() {
            write!(f, "{}:", self.source)?;
        }
        write_segment(f, &self.path)?;
        for field in &self.fields {
            f.write_str(".")?;
            write_segment(f, field)?;
        }
        Ok(())
    }
}

fn write_segment(f: &mut fmt::Formatter<'_>, segment: &str) -> fmt::Result {
    if segment.contains([',', '.', ':', '/', ' ']) {
        write!(f, "\"{segment}\"")
    } else {
        f.write_str(segment)
    }
}

pub(crate) fn find_unquoted(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        if c == wanted && !quoted {
            return Some(at);
        }
        if c == '"' {
            quoted = !quoted;
        }
    }
    None
}

/// A piece of a text that may hold references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    /// The name between `((` and `))`.
    Var(&'a str),
}

/// Splits a text at its references. `((` that starts none is text.
pub fn scan_text(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut plain_start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find("((") {
        let open = at + found;
        let name_start = open + 2;
        let length = text[name_start..]
            .find(|c: char| !is_name_character(c))
            .unwrap_or(text.len() - name_start);
        let name_end = name_start + length;
        if length > 0 && text[name_end..].starts_with("))") {
            if plain_start < open {
                pieces.push(Piece::Text(&text[plain_start..open]));
            }
            pieces.push(Piece::Var(&text[name_start..name_end]));
            at = name_end + 2;
            plain_start = at;
        } else {
            at = open + 1;
        }
    }
    if plain_start < text.len() {
        pieces.push(Piece::Text(&text[plain_start..]));
    }
    pieces
}

fn is_name_character(c: char) -> bool {
    matches!(c, '-' | '/' | '.' | ':' | '@' | '"' | '_')
        || c.is_ascii_alphanumeric()
        || (!c.is_ascii() && is_letter(c))
}

fn is_letter(c: char) -> bool {
    // Letters proper: what is alphabetic without being a mark, a number or a symbol is close enough to tell a name's end.
    c.is_alphabetic()
}

/// A var was found, but a field of it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldError {
    Missing { name: String, field: String },
    NotAMap { name: String, field: String, found: &'static str },
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldError::Missing { name, field } => {
                write!(f, "missing field '{field}' in var: {name}")
            }
            FieldError::NotAMap { name, field, found } => {
                write!(
                    f,
                    "cannot access field '{field}' of non-map value ('{found}') from var: {name}"
                )
            }
        }
    }
}

impl std::error::Error for FieldError {}

/// Follows a reference's fields into the var's value.
pub fn traverse<'a>(value: &'a Value, reference: &VarRef) -> Result<&'a Value, FieldError> {
    let mut value = value;
    for field in &reference.fields {
        let Value::Object(map) = value else {
            return Err(FieldError::NotAMap {
                name: reference.to_string(),
                field: field.clone(),
                found: kind_of(value),
            });
        };
        value = map.get(field).ok_or_else(|| FieldError::Missing {
            name: reference.to_string(),
            field: field.clone(),
        })?;
    }
    Ok(value)
}

/// Looks a reference up in plain vars, such as `-v` flags or a step's `vars`; these have no source.
pub fn lookup_in(vars: &Object, reference: &VarRef) -> Result<Option<Value>, FieldError> {
    if !reference.source.is_empty() {
        return Ok(None);
    }
    match vars.get(&reference.path) {
        Some(value) => traverse(value, reference).map(|value| Some(value.clone())),
        None => Ok(None),
    }
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}
