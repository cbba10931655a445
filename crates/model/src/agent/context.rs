/// One thing an agent is given to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextItem {
    pub source: ContextSource,
    /// Whether strangers may have written it.
    pub untrusted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// `artifact/path` of a text.
    File(String),
    /// What is known of the build: its names, where people see it, and its inputs' versions.
    Build,
    /// Vars, each named as between the parentheses of `((…))`; one that names no source is looked for among the build's
    /// own first.
    Vars(Vec<String>),
}
