//! The pipeline language: vars, parsing, validation and planning.
