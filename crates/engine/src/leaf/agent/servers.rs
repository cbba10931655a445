//! What an agent's gateway is told of the step's MCP servers.

use std::collections::BTreeMap;

use jb_agent_protocol::mcp;
use jb_model::Value;
use jb_model::agent::{AgentConfig, McpProgram, McpServer, McpWay};

use crate::build::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// The MCP servers of a step with everything resolved.
pub(super) struct Servers {
    /// What the gateway is told of them.
    pub(super) told: Vec<mcp::Server>,
    /// Those that are programs. There are none where a recording answers for them.
    pub(super) programs: Vec<Program>,
}

/// A server that is a program.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    /// The artifact that is its image; empty means the step's.
    pub(super) image: String,
    pub(super) params: BTreeMap<String, String>,
}

/// Resolves what the servers are. Those that a recording answers for are told nothing.
pub(super) async fn resolve(
    context: &BuildContext,
    leaf: &Leaf,
    agent: &AgentConfig,
    replayed: bool,
) -> Result<Servers, Trouble> {
    let mut servers = Servers { told: Vec::new(), programs: Vec::new() };
    for McpServer { name, tools, way } in &agent.mcp {
        let way = match way {
            McpWay::Http { url, .. } if replayed => {
                mcp::Way::Http { url: url.clone(), headers: BTreeMap::new() }
            }
            McpWay::Http { url, headers } => http(context, leaf, url, headers).await?,
            McpWay::Program(program) if replayed => told(name, &program.command, Vec::new()),
            McpWay::Program(written) => {
                let program = program(context, leaf, name, written).await?;
                let sent = program.command.iter().skip(1).chain(program.params.values());
                let way = told(name, &program.command, sent.cloned().collect());
                servers.programs.push(program);
                way
            }
        };
        servers.told.push(mcp::Server { name: name.clone(), tools: tools.clone(), way });
    }
    Ok(servers)
}

async fn http(
    context: &BuildContext,
    leaf: &Leaf,
    url: &str,
    headers: &BTreeMap<String, String>,
) -> Result<mcp::Way, Trouble> {
    let url = context.interpolate_text(leaf, url).await?;
    McpServer::check_url(&url).map_err(Trouble::new)?;
    Ok(mcp::Way::Http { url, headers: credentials(context, leaf, headers).await? })
}

async fn program(
    context: &BuildContext,
    leaf: &Leaf,
    name: &str,
    written: &McpProgram,
) -> Result<Program, Trouble> {
    let mut command = Vec::with_capacity(written.command.len());
    for word in &written.command {
        command.push(credential(context, leaf, word).await?);
    }
    McpServer::check_command(&command).map_err(Trouble::new)?;
    let image = context.interpolate_text(leaf, &written.image).await?;
    let params = credentials(context, leaf, &written.params).await?;
    Ok(Program { name: name.to_owned(), command, image, params })
}

/// The gateway's end of a program.
fn told(name: &str, command: &[String], sent: Vec<String>) -> mcp::Way {
    let socket = format!("{}/{}", mcp::socket_dir(name), mcp::SOCKET);
    mcp::Way::Program { socket, command: command.first().cloned().unwrap_or_default(), sent }
}

async fn credentials(
    context: &BuildContext,
    leaf: &Leaf,
    written: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Trouble> {
    let mut sent = BTreeMap::new();
    for (name, text) in written {
        sent.insert(name.clone(), credential(context, leaf, text).await?);
    }
    Ok(sent)
}

/// A text that only a server gets. Whatever the vars in it are elsewhere, here they are masked.
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
