//! The build machine: a plan and events in, effects out.
