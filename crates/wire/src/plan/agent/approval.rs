//! What plans carry of calls that wait for people.

use jb_model::agent::{AskedTool, ShellGrant, ToolApproval};
use jb_model::approval::Approvers;
use serde::{Deserialize, Serialize};

use crate::plan::PlanJsonError;
use crate::plan::approve::check_roles;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ToolApprovalJson {
    tools: Vec<AskedToolJson>,
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

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AskedToolJson {
    Named(String),
    Shell(Vec<String>),
}

impl ToolApprovalJson {
    pub(super) fn of(approval: &ToolApproval) -> Self {
        let ToolApproval { tools, approvers, quorum, timeout } = approval.clone();
        let Approvers { roles, users, groups } = approvers;
        let tools = tools.into_iter().map(|tool| match tool {
            AskedTool::Named(name) => AskedToolJson::Named(name),
            AskedTool::Shell(grants) => {
                AskedToolJson::Shell(grants.iter().map(|it| it.as_str().to_owned()).collect())
            }
        });
        Self { tools: tools.collect(), roles, users, groups, quorum, timeout }
    }

    pub(super) fn into_approval(self) -> Result<ToolApproval, PlanJsonError> {
        let Self { tools, roles, users, groups, quorum, timeout } = self;
        check_roles(&roles)?;
        let tools = tools.into_iter().map(|tool| {
            Ok(match tool {
                AskedToolJson::Named(name) => AskedTool::Named(name),
                AskedToolJson::Shell(grants) => {
                    let grants = grants.iter().map(|grant| ShellGrant::parse(grant));
                    let wrong = <serde_json::Error as serde::de::Error>::custom;
                    AskedTool::Shell(grants.collect::<Result<_, _>>().map_err(wrong)?)
                }
            })
        });
        let tools = tools.collect::<Result<_, PlanJsonError>>()?;
        let approvers = Approvers { roles, users, groups };
        Ok(ToolApproval { tools, approvers, quorum, timeout })
    }
}
