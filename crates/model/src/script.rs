//! What resource scripts are given and what they say, for the built-in types and for runtimes that do a script's
//! work themselves.

mod fields;
mod line;

pub use fields::{FieldError, Fields};
pub use line::{Level, Line};
