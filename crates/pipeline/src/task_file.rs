//! Task files: reading, interpolating and overriding them.

mod resolve;

use std::fmt;

use jb_model::{TaskConfig, Value};
use jb_yaml::{Node, Span};

use crate::diagnostic::{Diagnostic, Severity};
use crate::parse::{task_config, task_to_value, yaml_error};
use crate::vars::{InterpolateError, Missing, VarRef, interpolate};

pub use resolve::{
    ResolvedTask, TaskOverrides, override_task, read_task_file, resolve_embedded_task,
    resolve_task_file, vars_needed,
};

/// Why a task configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskFileError<E = std::convert::Infallible> {
    /// Not YAML, wrong types or unknown fields: every finding.
    Malformed(Vec<Diagnostic>),
    /// Readable, but incomplete.
    Invalid(Vec<String>),
    Interpolate(InterpolateError<E>),
}

impl<E: fmt::Display> fmt::Display for TaskFileError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskFileError::Malformed(found) => {
                let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            TaskFileError::Invalid(messages) => {
                write!(f, "invalid task configuration:\n{}", messages.join("\n"))
            }
            TaskFileError::Interpolate(error) => {
                write!(f, "failed to interpolate task config: {error}")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for TaskFileError<E> {}

/// A task configuration that was read, and fields in it that mean nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedTask {
    pub config: TaskConfig,
    pub warnings: Vec<String>,
}

/// Reads and validates the text of a task file. An unknown field at its top is an error.
pub fn parse_task_config<E>(text: &str) -> Result<ParsedTask, TaskFileError<E>> {
    let node =
        jb_yaml::parse(text).map_err(|error| TaskFileError::Malformed(vec![yaml_error(&error)]))?;
    parse_task_node(&node)
}

/// Reads and validates a task configuration that is JSON data already.
pub fn parse_task_value<E>(value: &Value) -> Result<ParsedTask, TaskFileError<E>> {
    parse_task_node(&Node::from_json(value, Span::default()))
}

fn parse_task_node<E>(node: &Node) -> Result<ParsedTask, TaskFileError<E>> {
    let mut decoder = crate::parse::Decoder::default();
    let read = task_config(&mut decoder, node);
    let config = read.map(|(config, fields)| {
        decoder.close(fields);
        config
    });
    let (errors, warnings): (Vec<_>, Vec<_>) =
        decoder.diagnostics.into_iter().partition(|found| found.severity == Severity::Error);
    let Some(config) = config.filter(|_| errors.is_empty()) else {
        return Err(TaskFileError::Malformed(errors));
    };
    let problems = validate_task(&config);
    if !problems.is_empty() {
        return Err(TaskFileError::Invalid(problems));
    }
    let warnings = warnings.into_iter().map(|found| found.message).collect();
    Ok(ParsedTask { config, warnings })
}

/// What is missing in a task configuration, in Concourse's words.
pub fn validate_task(config: &TaskConfig) -> Vec<String> {
    let mut messages = Vec::new();
    if config.platform.is_empty() {
        messages.push("missing 'platform'".to_owned());
    }
    for (index, input) in config.inputs.iter().enumerate() {
        if input.name.is_empty() {
            messages.push(format!("  input in position {index} is missing a name"));
        }
    }
    for (index, output) in config.outputs.iter().enumerate() {
        if output.name.is_empty() {
            messages.push(format!("  output in position {index} is missing a name"));
        }
    }
    messages
}

/// A task configuration as JSON, the form that is stored, shown and interpolated.
pub fn task_config_value(config: &TaskConfig) -> Value {
    task_to_value(config)
}

/// Replaces the vars of a task configuration and reads the result again, so that a value of the wrong type is an error.
pub fn interpolate_task<E>(
    config: &TaskConfig,
    missing: Missing,
    lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Result<TaskConfig, TaskFileError<E>> {
    let value = task_to_value(config);
    let value = interpolate(&value, missing, lookup).map_err(TaskFileError::Interpolate)?;
    parse_task_value(&value).map(|parsed| parsed.config)
}

#[cfg(test)]
mod tests;
