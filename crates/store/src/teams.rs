//! Teams and who has which role in them.

use jb_model::{TeamId, Timestamp, Value};

use crate::{Result, Store};

/// The team that always exists and administers the others.
pub const MAIN_TEAM: &str = "main";

/// A team.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamRecord {
    pub id: TeamId,
    pub name: String,
    /// True for the main team.
    pub admin: bool,
    /// `{role: {users: [..], groups: [..]}}`.
    pub auth: Value,
}

impl Store {
    /// Creates the main team, or gives it this `auth` anew.
    pub async fn ensure_main_team(&self, auth: &Value, now: Timestamp) -> Result<TeamRecord> {
        unfinished!(auth, now)
    }

    /// Creates the team, or replaces its `auth`. Names are compared without regard to case. True when created.
    pub async fn save_team(
        &self,
        name: &str,
        auth: &Value,
        now: Timestamp,
    ) -> Result<(TeamRecord, bool)> {
        unfinished!(name, auth, now)
    }

    /// Renames a team. False when there is none of that id.
    pub async fn rename_team(&self, team: TeamId, name: &str) -> Result<bool> {
        unfinished!(team, name)
    }

    /// Removes a team with its pipelines and builds. False when there is none of that id.
    pub async fn destroy_team(&self, team: TeamId) -> Result<bool> {
        unfinished!(team)
    }

    /// All teams by id.
    pub async fn teams(&self) -> Result<Vec<TeamRecord>> {
        unfinished!()
    }

    pub async fn team(&self, team: TeamId) -> Result<Option<TeamRecord>> {
        unfinished!(team)
    }

    /// Finds a team by its name, without regard to case.
    pub async fn team_by_name(&self, name: &str) -> Result<Option<TeamRecord>> {
        unfinished!(name)
    }
}
