//! YAML with positions and the YAML 1.1 habits of real pipeline files.
//!
//! [`parse`] reads exactly one document into a tree of [`Node`]s, each with the place it was written at. Plain scalars mean
//! what Concourse takes them for: `yes`, `on` and `y` are booleans, `0644` is octal, a date stays text; anything in quotes
//! is text. Anchors, aliases and merge keys are resolved, and what they may grow to is bounded. JSON is read too.

mod build;
mod error;
mod node;
mod scalar;

pub use build::parse_with;
pub use error::{Error, ErrorKind};
pub use node::{Entry, Node, NodeKind, Span};
pub use scalar::float_text;

/// What a text may cost. Every bound is generous for a pipeline and small for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text in bytes.
    pub max_bytes: usize,
    /// Lists and maps inside each other. Kept well below the 128 levels that a JSON reader accepts.
    pub max_depth: usize,
    /// Values in the whole tree, each use of an alias counting all it stands for.
    pub max_nodes: usize,
    /// Bytes of text in the whole tree, aliases counted the same way.
    pub max_text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_bytes: 10 << 20, max_depth: 64, max_nodes: 500_000, max_text_bytes: 64 << 20 }
    }
}

/// Reads one YAML (or JSON) document within the default [`Limits`]. An empty text is null.
pub fn parse(text: &str) -> Result<Node, Error> {
    parse_with(text, Limits::default())
}

#[cfg(test)]
mod tests;
