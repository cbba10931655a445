//! Which calls of tools wait for people.

use super::{AgentConfig, McpServer, ShellGrant, Tool};
use crate::approval::Approvers;

/// What an agent may do only once people have approved it, call by call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolApproval {
    /// What is asked for. Granted calls that none of these names run at once.
    pub tools: Vec<AskedTool>,
    pub approvers: Approvers,
    /// How many people have to approve; 0 means one.
    pub quorum: u32,
    /// A duration as written; empty waits as long as the step may take.
    pub timeout: String,
}

/// Calls that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedTool {
    /// Every call of the tool that the agent knows by this name: one of ours, or `server__tool` of an MCP server.
    Named(String),
    /// Programs whose arguments match one of these.
    Shell(Vec<ShellGrant>),
}

impl AskedTool {
    /// The tool's name, as the agent knows it.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Shell(_) => "shell",
        }
    }
}

impl AgentConfig {
    /// Whether a tool of this name exists for the agent.
    pub fn grants(&self, name: &str) -> bool {
        let offered = |server: &McpServer| {
            server.tools.iter().any(|tool| McpServer::offered_name(&server.name, tool) == name)
        };
        self.tools.iter().map(Tool::name).any(|known| known == name) || self.mcp.iter().any(offered)
    }

    /// The first tool that would be asked for and is not there, if any.
    pub fn asked_in_vain(&self) -> Option<&str> {
        let asked = self.approval.iter().flat_map(|approval| &approval.tools);
        asked.map(AskedTool::name).find(|name| !self.grants(name))
    }
}
