//! From what a task step says, and its file, to the configuration that runs.

use jb_model::config::{ContainerLimits, ImageResource, TaskConfig};
use jb_model::{Object, Value};

use super::{TaskFileError, interpolate_task, parse_task_config};
use crate::json::go_json;
use crate::vars::{FieldError, InterpolateError, Missing, VarRef, lookup_in};

/// What a task step adds to its configuration.
#[derive(Clone, Copy, Debug)]
pub struct TaskOverrides<'a> {
    /// The step's `vars`, put into a task file before anything else. They have no part in an embedded configuration.
    pub vars: &'a Object,
    /// The step's `params`.
    pub params: &'a Object,
    pub limits: Option<ContainerLimits>,
}

/// A configuration ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedTask {
    pub config: TaskConfig,
    /// Lines for the step's stderr, each starting with `[WARNING] `.
    pub warnings: Vec<String>,
}

/// Resolves a task file: its text, then the step's `vars` (others may stay), the defaults of the image's source, the step's limits
/// and params, then the build's vars, all of which must have a value.
///
/// The build's vars are looked up by `lookup`; what it needs can be known before from [`vars_needed`].
pub fn resolve_task_file<E>(
    text: &str,
    overrides: TaskOverrides<'_>,
    source_defaults: impl FnOnce(&mut ImageResource),
    lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Result<ResolvedTask, TaskFileError<E>> {
    let (config, warnings) = read_task_file(text, overrides.vars)?;
    finish(config, warnings, overrides, source_defaults, lookup)
}

/// Resolves a configuration that stands in the pipeline itself.
pub fn resolve_embedded_task<E>(
    config: &TaskConfig,
    overrides: TaskOverrides<'_>,
    source_defaults: impl FnOnce(&mut ImageResource),
    lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Result<ResolvedTask, TaskFileError<E>> {
    finish(config.clone(), Vec::new(), overrides, source_defaults, lookup)
}

/// The first half of [`resolve_task_file`]: the text and the step's `vars`. The warnings are about meaningless fields.
pub fn read_task_file<E>(
    text: &str,
    vars: &Object,
) -> Result<(TaskConfig, Vec<String>), TaskFileError<E>> {
    let parsed = parse_task_config(text)?;
    if vars.is_empty() {
        return Ok((parsed.config, parsed.warnings));
    }
    let config =
        interpolate_task(&parsed.config, Missing::Keep, |reference| lookup_in(vars, reference))
            .map_err(without_lookup)?;
    Ok((config, parsed.warnings))
}

/// A step's own `vars` fail only over their fields; that is told as text, since `E` belongs to the build's vars.
fn without_lookup<E>(error: TaskFileError<FieldError>) -> TaskFileError<E> {
    match error {
        TaskFileError::Malformed(found) => TaskFileError::Malformed(found),
        TaskFileError::Invalid(messages) => TaskFileError::Invalid(messages),
        TaskFileError::Interpolate(error) => TaskFileError::Interpolate(match error {
            InterpolateError::Lookup(error) => InterpolateError::Field(error),
            InterpolateError::Field(error) => InterpolateError::Field(error),
            InterpolateError::Invalid(error) => InterpolateError::Invalid(error),
            InterpolateError::Undefined(names) => InterpolateError::Undefined(names),
            InterpolateError::NotPrimitive { name, found } => {
                InterpolateError::NotPrimitive { name, found }
            }
            InterpolateError::BadKey { key, found } => InterpolateError::BadKey { key, found },
            InterpolateError::TooLarge => InterpolateError::TooLarge,
        }),
    }
}

fn finish<E>(
    mut config: TaskConfig,
    warnings: Vec<String>,
    overrides: TaskOverrides<'_>,
    source_defaults: impl FnOnce(&mut ImageResource),
    lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Result<ResolvedTask, TaskFileError<E>> {
    if let Some(image) = &mut config.image_resource {
        source_defaults(image);
    }
    let mut warnings: Vec<String> =
        warnings.into_iter().map(|warning| format!("[WARNING] {warning}")).collect();
    warnings.extend(override_task(&mut config, overrides.limits, overrides.params));
    let config = interpolate_task(&config, Missing::Fail, lookup)?;
    Ok(ResolvedTask { config, warnings })
}

/// Lets a step's limits and params win over those of a configuration. A param that the configuration does not know gives a
/// warning line.
pub fn override_task(
    config: &mut TaskConfig,
    limits: Option<ContainerLimits>,
    params: &Object,
) -> Vec<String> {
    if let Some(limits) = limits {
        let mine = config.limits.get_or_insert_default();
        mine.cpu_shares = limits.cpu_shares.or(mine.cpu_shares);
        mine.memory_bytes = limits.memory_bytes.or(mine.memory_bytes);
    }
    let mut warnings = Vec::new();
    for (key, value) in params {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => go_json(other),
        };
        if config.params.insert(key.clone(), text).is_none() {
            warnings.push(format!(
                "[WARNING] {key} was defined in pipeline but missing from task file"
            ));
        }
    }
    warnings
}

/// The vars that the second half of resolving will ask for: those of the configuration and of the step's params.
pub fn vars_needed(config: &TaskConfig, params: &Object) -> Vec<VarRef> {
    let mut all = config.clone();
    override_task(&mut all, None, params);
    let mut needed = crate::vars::var_refs(&crate::parse::task_to_value(&all));
    needed.dedup();
    needed
}
