//! The JSON forms of plans, events and API objects.

pub mod api;
pub mod event;
pub mod machine;
pub mod plan;
