//! What plans carry of approvals.

use std::str::FromStr as _;

use jb_authz::Role;
use jb_model::approval::{ApprovePlan, ApproveStep, Approvers};
use serde::{Deserialize, Serialize};

use super::PlanJsonError;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Approve {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    quorum: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    timeout: String,
}

impl Approve {
    pub(super) fn of(plan: &ApprovePlan) -> Self {
        let ApprovePlan { step, timeout } = plan.clone();
        let ApproveStep { name, message, artifacts, approvers, quorum } = step;
        let Approvers { roles, users, groups } = approvers;
        Self { name, message, artifacts, roles, users, groups, quorum, timeout }
    }

    /// Plans are posted by clients, too: a role that does not exist must not make an approval that nobody can give.
    pub(super) fn into_plan(self) -> Result<ApprovePlan, PlanJsonError> {
        let Self { name, message, artifacts, roles, users, groups, quorum, timeout } = self;
        check_roles(&roles)?;
        let approvers = Approvers { roles, users, groups };
        let step = ApproveStep { name, message, artifacts, approvers, quorum };
        Ok(ApprovePlan { step, timeout })
    }
}

/// Refuses roles that nobody can have; those with vars are read when the step runs.
pub(super) fn check_roles(roles: &[String]) -> Result<(), PlanJsonError> {
    let mut known = roles.iter().filter(|role| !role.contains("(("));
    known
        .try_for_each(|role| Role::from_str(role).map(drop))
        .map_err(|unknown| PlanJsonError::Json(serde::de::Error::custom(unknown)))
}
