//! The JSON forms of plans, events and API objects.

pub mod api;
