//! Teams.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Warning, is_zero};

/// Role, then `groups` and `users`, then `connector:name`.
pub type TeamAuth = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Team {
    #[serde(skip_serializing_if = "is_zero")]
    pub id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auth: TeamAuth,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TeamResponse {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    pub team: Team,
}
