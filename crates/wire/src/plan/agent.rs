//! What plans carry of agent steps.

mod approval;
mod mcp;

use jb_model::Value;
use jb_model::agent::{
    AgentConfig, AgentNetwork, Budget, ContextItem, ContextSource, Harness, HostPattern, McpServer,
    ResultSchema, ShellGrant, Tool, Verdict,
};
use serde::{Deserialize, Serialize};

use super::PlanJsonError;
use approval::ToolApprovalJson;
use mcp::McpServerJson;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AgentJson {
    harness: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    prompt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    prompt_file: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context: Vec<ContextJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mcp: Vec<McpServerJson>,
    #[serde(skip_serializing_if = "NetworkJson::is_gateway")]
    network: NetworkJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictJson>,
    budget: BudgetJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ToolApprovalJson>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ContextJson {
    #[serde(flatten)]
    source: ContextSourceJson,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untrusted: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ContextSourceJson {
    File(String),
    Build(bool),
    Vars(Vec<String>),
}

impl ContextJson {
    fn of(item: &ContextItem) -> Self {
        let source = match &item.source {
            ContextSource::File(file) => ContextSourceJson::File(file.clone()),
            ContextSource::Build => ContextSourceJson::Build(true),
            ContextSource::Vars(names) => ContextSourceJson::Vars(names.clone()),
        };
        Self { source, untrusted: item.untrusted }
    }

    fn into_item(self) -> ContextItem {
        let source = match self.source {
            ContextSourceJson::File(file) => ContextSource::File(file),
            ContextSourceJson::Build(_) => ContextSource::Build,
            ContextSourceJson::Vars(names) => ContextSource::Vars(names),
        };
        ContextItem { source, untrusted: self.untrusted }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToolJson {
    Read,
    Edit,
    Write,
    Search,
    Shell(Vec<String>),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NetworkJson {
    #[default]
    Gateway,
    Hosts(Vec<String>),
    Full,
}

impl NetworkJson {
    fn of(network: &AgentNetwork) -> Self {
        match network {
            AgentNetwork::Gateway => Self::Gateway,
            AgentNetwork::Hosts(hosts) => {
                Self::Hosts(hosts.iter().map(HostPattern::to_string).collect())
            }
            AgentNetwork::Full => Self::Full,
        }
    }

    const fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway)
    }

    fn into_network(self) -> Result<AgentNetwork, String> {
        match self {
            Self::Gateway => Ok(AgentNetwork::Gateway),
            Self::Hosts(hosts) => AgentNetwork::hosts(&hosts),
            Self::Full => Ok(AgentNetwork::Full),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResultJson {
    Schema(Value),
    SchemaFile(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct VerdictJson {
    from: String,
    pass: Vec<String>,
    fail: Vec<String>,
    inconclusive_passes: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct BudgetJson {
    #[serde(skip_serializing_if = "String::is_empty")]
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    turns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_micros: Option<u64>,
}

impl AgentJson {
    pub(super) fn of(agent: &AgentConfig) -> Self {
        let tool = |tool: &Tool| match tool {
            Tool::Read => ToolJson::Read,
            Tool::Edit => ToolJson::Edit,
            Tool::Write => ToolJson::Write,
            Tool::Search => ToolJson::Search,
            Tool::Shell(grants) => {
                ToolJson::Shell(grants.iter().map(|grant| grant.as_str().to_owned()).collect())
            }
        };
        let Budget { time, turns, tokens, cost_micros } = agent.budget.clone();
        Self {
            harness: agent.harness.as_str().to_owned(),
            model: agent.model.clone(),
            prompt: agent.prompt.clone(),
            prompt_file: agent.prompt_file.clone(),
            context: agent.context.iter().map(ContextJson::of).collect(),
            tools: agent.tools.iter().map(tool).collect(),
            mcp: agent.mcp.iter().map(McpServerJson::of).collect(),
            network: NetworkJson::of(&agent.network),
            result: agent.result.clone().map(|result| match result {
                ResultSchema::Inline(schema) => ResultJson::Schema(schema),
                ResultSchema::File(file) => ResultJson::SchemaFile(file),
            }),
            verdict: agent.verdict.clone().map(|verdict| {
                let Verdict { from, pass, fail, inconclusive_passes } = verdict;
                VerdictJson { from, pass, fail, inconclusive_passes }
            }),
            budget: BudgetJson { time, turns, tokens, cost_micros },
            approval: agent.approval.as_ref().map(ToolApprovalJson::of),
        }
    }

    /// Plans are posted by clients, too: what they grant is read as strictly as in a pipeline.
    pub(super) fn into_agent(self) -> Result<AgentConfig, PlanJsonError> {
        let wrong = |what: String| {
            PlanJsonError::Json(<serde_json::Error as serde::de::Error>::custom(what))
        };
        let harness = Harness::named(&self.harness)
            .ok_or_else(|| wrong(format!("unknown harness `{}`", self.harness)))?;
        let tools = self.tools.into_iter().map(|tool| {
            Ok(match tool {
                ToolJson::Read => Tool::Read,
                ToolJson::Edit => Tool::Edit,
                ToolJson::Write => Tool::Write,
                ToolJson::Search => Tool::Search,
                ToolJson::Shell(grants) => {
                    let grants = grants.iter().map(|grant| ShellGrant::parse(grant));
                    Tool::Shell(grants.collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?)
                }
            })
        });
        let mcp: Vec<_> = self.mcp.into_iter().map(McpServerJson::into_server).collect();
        McpServer::check_all(&mcp).map_err(wrong)?;
        let BudgetJson { time, turns, tokens, cost_micros } = self.budget;
        let approval = self.approval.map(ToolApprovalJson::into_approval).transpose()?;
        let agent = AgentConfig {
            harness,
            model: self.model,
            prompt: self.prompt,
            prompt_file: self.prompt_file,
            context: self.context.into_iter().map(ContextJson::into_item).collect(),
            tools: tools.collect::<Result<_, PlanJsonError>>()?,
            mcp,
            network: self.network.into_network().map_err(wrong)?,
            result: self.result.map(|result| match result {
                ResultJson::Schema(schema) => ResultSchema::Inline(schema),
                ResultJson::SchemaFile(file) => ResultSchema::File(file),
            }),
            verdict: self.verdict.map(|verdict| {
                let VerdictJson { from, pass, fail, inconclusive_passes } = verdict;
                Verdict { from, pass, fail, inconclusive_passes }
            }),
            budget: Budget { time, turns, tokens, cost_micros },
            approval,
        };
        match agent.asked_in_vain() {
            Some(name) => Err(wrong(format!("the tool `{name}` is asked for and not granted"))),
            None => Ok(agent),
        }
    }
}
