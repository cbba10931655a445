//! `((vars))`: references, where they stand, and putting values in their place.
//!
//! A string that is exactly one reference becomes the value, whatever its type; a reference inside other text needs a
//! string or a number. Map keys are interpolated too. The inserted text is not looked at again.

mod interpolate;
mod reference;

pub use interpolate::{
    InterpolateError, MAX_INSERTED_BYTES, Missing, interpolate, interpolate_node, var_refs,
};
pub(crate) use reference::find_unquoted;
pub use reference::{FieldError, InvalidRef, Piece, VarRef, lookup_in, scan_text, traverse};

#[cfg(test)]
mod tests;
