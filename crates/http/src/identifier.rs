//! Names that clients give.

use jb_pipeline::identifier::{IdentifierProblem, check_identifier};
use jb_wire::api::Warning;

/// Checks a name: an empty one is an error, an unusual one is worth a warning.
pub(crate) fn check(name: &str, what: &str) -> Result<Option<Warning>, String> {
    match check_identifier(name, &[what.to_owned()]) {
        None => Ok(None),
        Some(IdentifierProblem::Empty(message)) => Err(message),
        Some(IdentifierProblem::Invalid(message)) => {
            Ok(Some(Warning { kind: "invalid_identifier".to_owned(), message }))
        }
    }
}
