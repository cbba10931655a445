//! The MCP servers of a step's agent.

use std::collections::BTreeMap;

use jb_agent_protocol::mcp;
use jb_model::Value;
use jb_model::agent::{AgentConfig, McpServer};

use crate::build::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// Resolves what the gateway is told of the servers. Those that a recording answers for are told nothing.
pub(super) async fn resolve(
    context: &BuildContext,
    leaf: &Leaf,
    agent: &AgentConfig,
    replayed: bool,
) -> Result<Vec<mcp::Server>, Trouble> {
    let mut servers = Vec::with_capacity(agent.mcp.len());
    for McpServer { name, url, tools, headers } in &agent.mcp {
        let mut server = mcp::Server {
            name: name.clone(),
            url: url.clone(),
            tools: tools.clone(),
            headers: BTreeMap::new(),
        };
        if !replayed {
            server.url = context.interpolate_text(leaf, url).await?;
            McpServer::check_url(&server.url).map_err(Trouble::new)?;
            for (header, written) in headers {
                server.headers.insert(header.clone(), credential(context, leaf, written).await?);
            }
        }
        servers.push(server);
    }
    Ok(servers)
}

/// A header's value. Whatever the vars in it are elsewhere, here they are masked.
async fn credential(context: &BuildContext, leaf: &Leaf, written: &str) -> Result<String, Trouble> {
    let sent = context.interpolate_text(leaf, written).await?;
    for var in jb_pipeline::vars::var_refs(&Value::String(written.to_owned())) {
        let value = context.interpolate(leaf, &Value::String(format!("(({var}))"))).await?;
        context.add_secret(&value);
    }
    Ok(sent)
}

/// What the harness is told of one.
pub(super) fn grant(server: &mcp::Server) -> mcp::Grant {
    mcp::Grant { server: server.name.clone(), tools: server.tools.clone() }
}
