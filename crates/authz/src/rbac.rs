//! Roles that the operator of the server sets for single actions (`--config-rbac`).

use std::collections::BTreeMap;

use crate::{Action, Role, Route};

/// Why a role configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RbacError {
    UnknownRole(String),
    UnknownAction(String),
}

impl std::fmt::Display for RbacError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownRole(role) => write!(f, "failed to customize roles: unknown role {role}"),
            Self::UnknownAction(action) => {
                write!(f, "failed to customize roles: unknown action {action}")
            }
        }
    }
}

impl std::error::Error for RbacError {}

/// The least role of the actions that do not keep the table's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOverrides(BTreeMap<Action, Role>);

impl RoleOverrides {
    /// From `role: [action, ...]` as the file has it; a later role wins over an earlier one.
    pub fn new<'a>(
        entries: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, RbacError> {
        let mut overrides = BTreeMap::new();
        for (role, actions) in entries {
            let role: Role = role.parse().map_err(|_| RbacError::UnknownRole(role.to_owned()))?;
            for action in actions {
                let action = Action::from_name(action)
                    .ok_or_else(|| RbacError::UnknownAction(action.to_owned()))?;
                overrides.insert(action, role);
            }
        }
        Ok(Self(overrides))
    }

    /// The least role for a route.
    pub fn role(&self, route: &Route) -> Option<Role> {
        self.0.get(&route.action).copied().or(route.role)
    }
}
