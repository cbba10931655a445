//! From the text of a pipeline to [`PipelineConfig`].
//!
//! Unknown top-level keys are dropped, as anchors may hang there. Everything else that is wrong is reported at once, with its
//! place. Beside the configuration stands its normalised JSON: what `GET …/config` answers, so that `fly` sees no change
//! when the same file is set again.

mod agent;
mod approve;
mod decoder;
mod job;
mod sections;
mod step;
mod task;

use jb_model::{PipelineConfig, Value};
use jb_yaml::{Node, Span};

use crate::diagnostic::{Code, Diagnostic, Path, Severity};
pub(crate) use decoder::Decoder;

pub use task::parse_memory;
pub(crate) use task::{task_config, task_to_value};

/// A pipeline that was read.
#[derive(Clone, Debug)]
pub struct ParsedPipeline {
    /// Meaningful only without errors in `diagnostics`; otherwise it holds what could be understood.
    pub config: PipelineConfig,
    /// The configuration as JSON, defaults left out and resources and types sorted by name.
    pub normalised: Value,
    pub diagnostics: Vec<Diagnostic>,
    /// The tree behind it, for finding places. Null when the text was not even YAML.
    pub node: Node,
}

impl ParsedPipeline {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads the text of a pipeline, YAML or JSON.
pub fn parse_pipeline(text: &str) -> ParsedPipeline {
    match jb_yaml::parse(text) {
        Ok(node) => parse_pipeline_node(node),
        Err(error) => ParsedPipeline {
            config: PipelineConfig::default(),
            normalised: Value::Object(jb_model::Object::new()),
            diagnostics: vec![yaml_error(&error)],
            node: Node::new(jb_yaml::NodeKind::Null, Span::default()),
        },
    }
}

/// Reads a pipeline that is JSON data already, such as a stored normalised one.
pub fn parse_pipeline_value(value: &Value) -> ParsedPipeline {
    parse_pipeline_node(Node::from_json(value, Span::default()))
}

/// Reads a pipeline from a tree with positions, e.g. after interpolation.
pub fn parse_pipeline_node(node: Node) -> ParsedPipeline {
    let mut decoder = Decoder::default();
    let (config, normalised) = sections::pipeline(&mut decoder, &node);
    ParsedPipeline { config, normalised, diagnostics: decoder.diagnostics, node }
}

pub(crate) fn yaml_error(error: &jb_yaml::Error) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::Yaml,
        section: None,
        message: error.kind.to_string(),
        path: Path::default(),
        span: error.span.is_known().then_some(error.span),
    }
}

#[cfg(test)]
mod tests;
