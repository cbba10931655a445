//! What is wrong with a configuration, where, and how an API client is told.

use std::fmt;

use jb_yaml::{Node, Span};

/// One finding about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
    /// The part of the pipeline whose rules are broken; `None` when the file could not be understood at all.
    pub section: Option<Section>,
    /// The finding, with its location in Concourse's notation when it belongs to a section.
    pub message: String,
    /// Where in the data.
    pub path: Path,
    /// Where in the text, when there is one.
    pub span: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// The groups in which errors are reported, in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Groups,
    Resources,
    ResourceTypes,
    Prototypes,
    VarSources,
    Jobs,
    Display,
    /// Cycles of `passed`; reported as jobs, after everything else.
    Cycles,
}

impl Section {
    fn title(self) -> &'static str {
        match self {
            Section::Groups => "groups",
            Section::Resources => "resources",
            Section::ResourceTypes => "resource types",
            Section::Prototypes => "prototypes",
            Section::VarSources => "variable sources",
            Section::Jobs | Section::Cycles => "jobs",
            Section::Display => "display config",
        }
    }
}

/// The kind of a finding, stable for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Yaml,
    Vars,
    WrongType,
    UnknownField,
    InvalidValue,
    NoStep,
    InvalidIdentifier,
    DeprecatedField,
    VarShadowed,
    Pipeline,
    DuplicateName,
    MissingName,
    MissingType,
    NoJobs,
    UnusedResource,
    UnknownResource,
    UnknownJob,
    UngroupedJob,
    InvalidGlob,
    UnknownPrototype,
    RepeatedName,
    UnrelatedJob,
    TaskSource,
    TaskConfig,
    MissingFile,
    NoVars,
    NotPositive,
    InvalidDuration,
    LogRetention,
    VarSource,
    Display,
    Cycle,
}

impl Code {
    /// The name, e.g. `unknown_field`. For warnings it is the `type` that API clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Yaml => "yaml",
            Code::Vars => "vars",
            Code::WrongType => "wrong_type",
            Code::UnknownField => "unknown_field",
            Code::InvalidValue => "invalid_value",
            Code::NoStep => "no_step",
            Code::InvalidIdentifier => "invalid_identifier",
            Code::DeprecatedField => "deprecated_field",
            Code::VarShadowed => "var_shadowed",
            Code::Pipeline => "pipeline",
            Code::DuplicateName => "duplicate_name",
            Code::MissingName => "missing_name",
            Code::MissingType => "missing_type",
            Code::NoJobs => "no_jobs",
            Code::UnusedResource => "unused_resource",
            Code::UnknownResource => "unknown_resource",
            Code::UnknownJob => "unknown_job",
            Code::UngroupedJob => "ungrouped_job",
            Code::InvalidGlob => "invalid_glob",
            Code::UnknownPrototype => "unknown_prototype",
            Code::RepeatedName => "repeated_name",
            Code::UnrelatedJob => "unrelated_job",
            Code::TaskSource => "task_source",
            Code::TaskConfig => "task_config",
            Code::MissingFile => "missing_file",
            Code::NoVars => "no_vars",
            Code::NotPositive => "not_positive",
            Code::InvalidDuration => "invalid_duration",
            Code::LogRetention => "log_retention",
            Code::VarSource => "var_source",
            Code::Display => "display",
            Code::Cycle => "cycle",
        }
    }
}

/// A place in the data, shown like `jobs[0].plan[2].params`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathStep>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathStep {
    Key(String),
    Index(usize),
}

impl From<&str> for PathStep {
    fn from(key: &str) -> Self {
        PathStep::Key(key.to_owned())
    }
}

impl From<usize> for PathStep {
    fn from(index: usize) -> Self {
        PathStep::Index(index)
    }
}

impl Path {
    /// The place of the longest part of this path that exists in the tree.
    pub fn locate(&self, root: &Node) -> Option<Span> {
        let mut node = root;
        for step in &self.0 {
            let next = match step {
                PathStep::Key(key) => node.get(key),
                PathStep::Index(index) => node.as_list().and_then(|items| items.get(*index)),
            };
            match next {
                Some(next) => node = next,
                // `in_parallel` may be a plain list where the path says `.steps`.
                None if matches!(step, PathStep::Key(key) if key == "steps") => {}
                None => break,
            }
        }
        node.span.is_known().then_some(node.span)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if position == 0 => f.write_str(key)?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Diagnostic {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    /// One line for people: `3:5: jobs[0].plan: expected a list, found a string`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = self.span {
            write!(f, "{span}: ")?;
        }
        if self.section.is_none() && !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// The `errors` of an API answer, empty when nothing is wrong.
///
/// A file that cannot be understood gives one `malformed config: …` for each finding; otherwise the findings of each
/// section stand together under `invalid <section>:`, one per line, indented by a tab.
pub fn error_texts(diagnostics: &[Diagnostic]) -> Vec<String> {
    let errors: Vec<_> = diagnostics.iter().filter(|found| found.is_error()).collect();
    let malformed: Vec<_> = errors
        .iter()
        .filter(|found| found.section.is_none())
        .map(|found| format!("malformed config: {found}"))
        .collect();
    if !malformed.is_empty() {
        return malformed;
    }
    let mut sections: Vec<Section> = errors.iter().filter_map(|found| found.section).collect();
    sections.sort();
    sections.dedup();
    sections
        .into_iter()
        .map(|section| {
            let lines: Vec<&str> = errors
                .iter()
                .filter(|found| found.section == Some(section))
                .flat_map(|found| found.message.split('\n'))
                .collect();
            format!("invalid {}:\n\t{}\n", section.title(), lines.join("\n\t"))
        })
        .collect()
}

/// A warning as API clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// `invalid_identifier`, `deprecated_field`, `var_shadowed` or `pipeline`.
    pub kind: &'static str,
    pub message: String,
}

/// The `warnings` of an API answer.
pub fn warnings(diagnostics: &[Diagnostic]) -> Vec<ConfigWarning> {
    diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Warning)
        .map(|found| ConfigWarning { kind: found.code.as_str(), message: found.message.clone() })
        .collect()
}
