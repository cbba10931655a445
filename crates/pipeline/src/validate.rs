//! The rules a pipeline must keep once it can be read.
//!
//! Errors forbid setting it, warnings do not. Messages and their order are those of Concourse.

mod job;
mod section;
mod step;
mod var_source;
mod visit;

use jb_model::PipelineConfig;

use crate::diagnostic::{Code, Diagnostic, Path, PathStep, Section, Severity};
use crate::identifier::{IdentifierProblem, check_identifier};

pub use var_source::order as order_var_sources;
pub use visit::{each_get_and_put, each_step};

/// Checks every rule. Places are paths only; [`crate::check`] adds lines and columns.
pub fn validate(config: &PipelineConfig) -> Vec<Diagnostic> {
    let mut findings = Findings::default();
    let links = job::Links::new(config);
    section::groups(config, &links.names, &mut findings);
    section::resources(config, &mut findings);
    section::types(config, &mut findings);
    section::var_sources(config, &mut findings);
    job::jobs(config, &links, &mut findings);
    section::display(config, &mut findings);
    job::cycles(config, &links, &mut findings);
    findings.list
}

#[derive(Default)]
struct Findings {
    list: Vec<Diagnostic>,
}

impl Findings {
    fn error(&mut self, section: Section, code: Code, path: &[PathStep], message: String) {
        self.push(Severity::Error, section, code, path, message);
    }

    fn warning(&mut self, section: Section, code: Code, path: &[PathStep], message: String) {
        self.push(Severity::Warning, section, code, path, message);
    }

    fn push(
        &mut self,
        severity: Severity,
        section: Section,
        code: Code,
        path: &[PathStep],
        message: String,
    ) {
        let (path, section) = (Path(path.to_vec()), Some(section));
        self.list.push(Diagnostic { severity, code, section, message, path, span: None });
    }

    /// A name that is empty is an error, one that looks wrong a warning.
    fn identifier(&mut self, section: Section, path: &[PathStep], name: &str, context: &[String]) {
        match check_identifier(name, context) {
            None => {}
            Some(IdentifierProblem::Empty(message)) => {
                self.error(section, Code::MissingName, path, message);
            }
            Some(IdentifierProblem::Invalid(message)) => {
                self.warning(section, Code::InvalidIdentifier, path, message);
            }
        }
    }
}

/// One element of a section: `resources[2]`, or by name `resources.src`.
struct Place {
    section: &'static str,
    index: usize,
}

impl Place {
    fn indexed(&self) -> String {
        format!("{}[{}]", self.section, self.index)
    }

    fn identifier(&self, name: &str) -> String {
        if name.is_empty() { self.indexed() } else { format!("{}.{name}", self.section) }
    }

    fn path(&self) -> Vec<PathStep> {
        vec![self.section.into(), self.index.into()]
    }
}

#[cfg(test)]
mod tests;
