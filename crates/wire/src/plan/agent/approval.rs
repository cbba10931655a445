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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use crate::plan::{from_private, to_private};

    fn plan(approval: &Value) -> Value {
        json!({"id": "1", "task": {"name": "a", "privileged": false, "agent": {
            "harness": "builtin", "tools": ["read", {"shell": ["git *"]}], "budget": {}, "approval": approval,
        }}})
    }

    #[test]
    fn what_waits_survives_and_must_be_granted() {
        let approval = json!({
            "tools": [{"named": "read"}, {"shell": ["git push*"]}], "roles": ["member", "((role))"],
            "users": ["local:ann"], "groups": ["oidc:ops"], "quorum": 2, "timeout": "4h",
        });
        let read = from_private(&plan(&approval).to_string()).unwrap();
        let written: Value = serde_json::from_str(&to_private(&read).unwrap()).unwrap();
        assert_eq!(written["task"]["agent"]["approval"], approval);
        for (key, value, why) in [
            ("tools", json!([{"named": "edit"}]), "the tool `edit` is asked for and not granted"),
            ("tools", json!([{"shell": ["a | b"]}]), "means nothing in a shell grant"),
            ("roles", json!(["boss"]), "boss"),
        ] {
            let mut wrong = approval.clone();
            wrong[key] = value;
            let refused = from_private(&plan(&wrong).to_string()).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
