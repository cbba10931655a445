//! The first process of every container: keeps its journal, its terminal and its exit status.

fn main() {}
