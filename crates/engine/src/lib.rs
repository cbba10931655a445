//! What drives the pure machines: scheduler, checks, builds and collection of garbage.
