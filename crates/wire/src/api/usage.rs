//! What agents used of models. Tokens are counted as services count them; costs are millionths of a US dollar.

use jb_model::Object;
use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentUsage {
    /// Answers of the model.
    pub turns: u64,
    /// Without those that a cache had or took.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub cost_micros: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildAgentUsage {
    pub total: AgentUsage,
    /// In the order they began.
    pub steps: Vec<StepAgentUsage>,
}

/// What one step used of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepAgentUsage {
    /// The step's id in the build's plan.
    pub plan_id: String,
    pub name: String,
    /// `provider/model`.
    pub model: String,
    #[serde(flatten)]
    pub usage: AgentUsage,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobAgentUsage {
    pub total: AgentUsage,
    /// The newest first.
    pub builds: Vec<OneBuildAgentUsage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OneBuildAgentUsage {
    pub build_id: i64,
    /// Missing when the build is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_name: Option<String>,
    #[serde(flatten)]
    pub usage: AgentUsage,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TeamAgentUsage {
    pub total: AgentUsage,
    /// The dearest first. Builds without a job, or whose job is gone, are one without a name.
    pub jobs: Vec<OneJobAgentUsage>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OneJobAgentUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_name: Option<String>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub pipeline_instance_vars: Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    #[serde(flatten)]
    pub usage: AgentUsage,
}
