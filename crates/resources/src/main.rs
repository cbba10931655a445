//! The built-in resource types: git, time, registry-image and mock.

fn main() {}
