//! YAML with positions and the YAML 1.1 habits of real pipeline files.
