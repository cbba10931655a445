//! What a `load_var` step makes of a file.

use std::fmt;

use jb_model::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    /// Text without the white space around it.
    Trim,
    /// Text as it is.
    Raw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadVarError {
    UnknownFormat(String),
    Unreadable { file: String, format: &'static str, reason: String },
}

impl fmt::Display for LoadVarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadVarError::UnknownFormat(format) => write!(f, "invalid format {format}"),
            LoadVarError::Unreadable { file, format, reason } => {
                write!(f, "failed to parse {file} in format {format}: {reason}")
            }
        }
    }
}

impl std::error::Error for LoadVarError {}

fn named(name: &str) -> Option<Format> {
    match name {
        "json" => Some(Format::Json),
        "yml" | "yaml" => Some(Format::Yaml),
        "trim" => Some(Format::Trim),
        "raw" => Some(Format::Raw),
        _ => None,
    }
}

/// The format a step asks for, or when it asks for none, the one its file's extension names; text otherwise.
pub fn format_of(format: &str, file: &str) -> Result<Format, LoadVarError> {
    if !format.is_empty() {
        return named(format).ok_or_else(|| LoadVarError::UnknownFormat(format.to_owned()));
    }
    let name = file.rsplit('/').next().unwrap_or(file);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    Ok(named(extension).unwrap_or(Format::Trim))
}

/// The value in a file. `file` is its path for the choice of format and for messages.
pub fn decode(format: &str, file: &str, content: &[u8]) -> Result<Value, LoadVarError> {
    let format = format_of(format, file)?;
    let unreadable =
        |format, reason| LoadVarError::Unreadable { file: file.to_owned(), format, reason };
    let text = String::from_utf8_lossy(content);
    match format {
        Format::Json => {
            serde_json::from_str(&text).map_err(|error| unreadable("json", error.to_string()))
        }
        Format::Yaml => jb_yaml::parse(&text)
            .map(|node| node.to_json())
            .map_err(|error| unreadable("yaml", error.to_string())),
        Format::Trim => Ok(Value::from(text.trim())),
        Format::Raw => Ok(Value::from(text)),
    }
}

#[cfg(test)]
mod tests;
