//! The message on the wall, the server's components, and small named values.

use std::time::Duration;

use jb_model::{Timestamp, Value};

use crate::{Result, Store};

/// The message shown to everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wall {
    pub message: String,
    pub expires_at: Option<Timestamp>,
}

/// A periodic part of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRecord {
    pub name: String,
    pub interval: Duration,
    pub last_ran: Option<Timestamp>,
    pub paused: bool,
}

impl Store {
    /// The message, unless it expired.
    pub async fn wall(&self, now: Timestamp) -> Result<Option<Wall>> {
        unfinished!(now)
    }

    pub async fn set_wall(&self, wall: &Wall) -> Result<()> {
        unfinished!(wall)
    }

    pub async fn clear_wall(&self) -> Result<()> {
        unfinished!()
    }

    /// Makes the known components exactly these, keeping what is recorded of them.
    pub async fn set_components(&self, components: &[(&str, Duration)]) -> Result<()> {
        unfinished!(components)
    }

    /// All components by name.
    pub async fn components(&self) -> Result<Vec<ComponentRecord>> {
        unfinished!()
    }

    pub async fn set_component_ran(&self, name: &str, now: Timestamp) -> Result<()> {
        unfinished!(name, now)
    }

    /// Claims a run of a component that several servers share: true for one of them per interval.
    pub async fn claim_component(&self, name: &str, now: Timestamp) -> Result<bool> {
        unfinished!(name, now)
    }

    /// Pauses or resumes one component. False when there is none of that name.
    pub async fn set_component_paused(&self, name: &str, paused: bool) -> Result<bool> {
        unfinished!(name, paused)
    }

    pub async fn set_all_components_paused(&self, paused: bool) -> Result<()> {
        unfinished!(paused)
    }

    /// A named value kept for the server, such as its signing keys. Sealed at rest.
    pub async fn setting(&self, name: &str) -> Result<Option<Value>> {
        unfinished!(name)
    }

    /// Sets a named value unless there is one. Returns what is stored then.
    pub async fn setting_or(&self, name: &str, value: &Value) -> Result<Value> {
        unfinished!(name, value)
    }
}
