//! What builds ask people.

use jb_model::Object;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Approval {
    pub id: i64,
    /// The step's name.
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// `waiting`, `approved`, `rejected`, `expired` or `withdrawn`.
    pub status: &'static str,
    pub quorum: u32,
    pub roles: Vec<String>,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub artifacts: Vec<ApprovalArtifact>,
    /// In the order they came.
    pub answers: Vec<ApprovalAnswer>,
    /// Whether the caller is one of those who may answer.
    pub may_answer: bool,
    pub build_id: i64,
    pub build_name: String,
    pub plan_id: String,
    /// Which call of its agent's tools the step asks about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub call_id: String,
    pub team_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_name: Option<String>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// Who had the build made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// Unix seconds, as all times here.
    pub asked_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApprovalArtifact {
    pub id: i64,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApprovalAnswer {
    pub name: String,
    pub approves: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    pub answered_at: i64,
}

/// What someone says beside yes or no.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AnswerRequest {
    pub comment: String,
}

/// Why a request was refused, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    pub detail: String,
}
