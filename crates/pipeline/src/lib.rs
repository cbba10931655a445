//! The pipeline language: vars, durations, parsing, validation and task files, all as pure functions over text and data.
//!
//! The way of a pipeline file: [`vars::interpolate_node`] (when there are vars), [`parse::parse_pipeline`],
//! [`validate::validate`]; [`check::check_pipeline`] does all three and says what an API client should hear.

pub mod check;
pub mod credentials;
pub mod diagnostic;
pub mod full_network;
pub mod glob;
pub mod identifier;
pub mod instance_vars;
pub mod json;
pub mod load_var;
pub mod parse;
pub mod result_schema;
pub mod task_file;
pub mod validate;
pub mod vars;

pub use check::{CheckedPipeline, check_pipeline, check_pipeline_with_vars};
pub use credentials::check_credentials;
pub use diagnostic::{Code, Diagnostic, Section, Severity};
pub use parse::{ParsedPipeline, parse_pipeline, parse_pipeline_value};
pub use task_file::{TaskFileError, parse_task_config};
pub use validate::validate;
pub use vars::{InterpolateError, Missing, VarRef, interpolate, interpolate_node, var_refs};
