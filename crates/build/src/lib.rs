//! From a job to a plan, and from a plan to its end.
//!
//! [`planner`] compiles configuration into a [`jb_model::Plan`]; [`machine`] walks a plan: events in, effects out.
//! Both are pure: no IO, no clock, no randomness.

pub mod error;
pub mod machine;
mod plan_tree;
pub mod planner;
mod substitute;

pub use error::PlanError;
pub use machine::{
    Applied, BuildMachine, CancelReason, Effect, Event, IgnoredReason, ImageNeed, LeafResult,
    NodeId, Phase,
};
pub use planner::{
    Checked, PlanIds, PlanOptions, TypePlanner, plan_check, plan_job, plan_task_image,
};
