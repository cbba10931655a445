//! Why a text could not be read.

use std::fmt;

use crate::node::Span;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    /// Where it was noticed; unknown when the whole text is meant.
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not YAML. The text says what the scanner expected.
    Syntax(String),
    DuplicateKey {
        key: String,
        /// Where the key was given before.
        first: Span,
    },
    /// A second `---` document.
    SeveralDocuments,
    /// A map key that is null, a list or a map.
    UnusableKey(&'static str),
    /// `<<` whose value is neither a map nor a list of maps.
    BadMerge(&'static str),
    /// An anchor that contains an alias of itself.
    RecursiveAlias,
    /// A tag that the value does not fit, or one without a meaning here.
    BadTag { tag: String, text: String },
    /// `.inf` and `.nan`, which JSON cannot hold.
    NotFinite(String),
    /// The text is longer than allowed, in bytes.
    TooLong { max: usize },
    /// Nested deeper than allowed.
    TooDeep { max: usize },
    /// More values than allowed once aliases are expanded.
    TooManyNodes { max: usize },
    /// More text than allowed once aliases are expanded, in bytes.
    TooMuchText { max: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.span.is_known() {
            write!(f, "line {}, column {}: ", self.span.line, self.span.column)?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Syntax(what) => f.write_str(what),
            ErrorKind::DuplicateKey { key, first } => {
                write!(
                    f,
                    "key '{key}' is already given at line {}, column {}",
                    first.line, first.column
                )
            }
            ErrorKind::SeveralDocuments => {
                f.write_str("a second document starts here, but only one is read; remove the '---'")
            }
            ErrorKind::UnusableKey(kind) => {
                write!(f, "a map key must be text, a number or a boolean, not {kind}")
            }
            ErrorKind::BadMerge(kind) => {
                write!(f, "the merge key '<<' needs a map or a list of maps, not {kind}")
            }
            ErrorKind::RecursiveAlias => {
                f.write_str("an alias stands inside the value of its own anchor")
            }
            ErrorKind::BadTag { tag, text } => write!(f, "cannot read '{text}' as {tag}"),
            ErrorKind::NotFinite(text) => {
                write!(f, "{text} is not a finite number; quote it if text is meant")
            }
            ErrorKind::TooLong { max } => write!(f, "the text is longer than {max} bytes"),
            ErrorKind::TooDeep { max } => write!(f, "nested deeper than {max} levels"),
            ErrorKind::TooManyNodes { max } => {
                write!(f, "more than {max} values once aliases are expanded")
            }
            ErrorKind::TooMuchText { max } => {
                write!(f, "more than {max} bytes of text once aliases are expanded")
            }
        }
    }
}

impl std::error::Error for Error {}
