//! Everything between the text of a pipeline and the answer to the one who sets it.
//!
//! The API's config route and the `set_pipeline` step both come here.

use jb_model::{Object, PipelineConfig, Value};
use jb_yaml::Span;

use crate::diagnostic::{Code, ConfigWarning, Diagnostic, Path, Severity, error_texts, warnings};
use crate::parse::{ParsedPipeline, parse_pipeline, parse_pipeline_node, yaml_error};
use crate::validate::validate;
use crate::vars::{FieldError, InterpolateError, Missing, VarRef, interpolate_node, lookup_in};

/// A pipeline with all that was found about it.
#[derive(Clone, Debug)]
pub struct CheckedPipeline {
    /// Fit for use only when there are no errors.
    pub config: PipelineConfig,
    /// What `GET …/config` answers for it.
    pub normalised: Value,
    /// Errors and warnings with their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl CheckedPipeline {
    pub fn is_valid(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The `errors` of an API answer.
    pub fn errors(&self) -> Vec<String> {
        error_texts(&self.diagnostics)
    }

    /// The `warnings` of an API answer.
    pub fn warnings(&self) -> Vec<ConfigWarning> {
        warnings(&self.diagnostics)
    }
}

/// Reads and validates a pipeline's text, YAML or JSON.
pub fn check_pipeline(text: &str) -> CheckedPipeline {
    check(parse_pipeline(text))
}

/// Reads a pipeline's text, puts in vars and validates the result. The first of `layers` that has a var wins; vars that none has
/// are left for the builds.
pub fn check_pipeline_with_vars(text: &str, layers: &[&Object]) -> CheckedPipeline {
    let node = match jb_yaml::parse(text) {
        Ok(node) => node,
        Err(error) => return broken(yaml_error(&error)),
    };
    let lookup = |reference: &VarRef| lookup_in_layers(layers, reference);
    match interpolate_node(&node, Missing::Keep, lookup) {
        Ok(node) => check(parse_pipeline_node(node)),
        Err(error) => broken(vars_error(&error)),
    }
}

/// Reads a file of vars, as `var_files` of a `set_pipeline` step name them. An empty one has none.
pub fn parse_var_file(text: &str) -> Result<Object, String> {
    let node = jb_yaml::parse(text).map_err(|error| error.to_string())?;
    match node.to_json() {
        Value::Object(vars) => Ok(vars),
        Value::Null => Ok(Object::new()),
        _ => Err(format!("expected a map of vars, found {}", node.value.describe())),
    }
}

fn lookup_in_layers(layers: &[&Object], reference: &VarRef) -> Result<Option<Value>, FieldError> {
    for vars in layers {
        if let Some(value) = lookup_in(vars, reference)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn check(parsed: ParsedPipeline) -> CheckedPipeline {
    let ParsedPipeline { config, normalised, mut diagnostics, node } = parsed;
    let malformed = diagnostics.iter().any(|found| found.is_error() && found.section.is_none());
    if !malformed {
        let mut found = validate(&config);
        for diagnostic in &mut found {
            diagnostic.span = diagnostic.path.locate(&node);
        }
        diagnostics.extend(found);
    }
    CheckedPipeline { config, normalised, diagnostics }
}

fn vars_error(error: &InterpolateError<FieldError>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::Vars,
        section: None,
        message: error.to_string(),
        path: Path::default(),
        span: None::<Span>,
    }
}

fn broken(diagnostic: Diagnostic) -> CheckedPipeline {
    CheckedPipeline {
        config: PipelineConfig::default(),
        normalised: Value::Object(Object::new()),
        diagnostics: vec![diagnostic],
    }
}

#[cfg(test)]
mod tests;
