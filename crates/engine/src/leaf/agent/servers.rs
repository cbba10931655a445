//! What an agent's gateway is told of the step's MCP servers.

use std::collections::BTreeMap;

use jb_agent_protocol::mcp;
use jb_model::agent::{AgentConfig, McpImage, McpProgram, McpServer, McpWay};
use jb_model::config::ImageResource;
use jb_model::plan::TaskPlan;
use jb_model::{PlanId, PlanStep, Value};

use crate::agents::Recordings;
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
    pub(super) image: ProgramImage,
    pub(super) params: BTreeMap<String, String>,
}

/// Where its container's image is.
pub(super) enum ProgramImage {
    Step,
    Artifact(String),
    /// Fetched for this id.
    Fetched(PlanId),
}

/// For whom the image of a server is fetched.
fn image_owner(step: &PlanId, server: &str) -> PlanId {
    PlanId(format!("{step}/mcp/{server}"))
}

/// The images to fetch for the servers beside an agent: for whom, what the log calls it, and what it is. From a recording
/// no server is started.
pub(crate) fn images<'a>(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &'a TaskPlan,
) -> impl Iterator<Item = (PlanId, String, &'a ImageResource)> {
    let replayed = matches!(context.engine.settings.agents.recordings, Recordings::Replayed(_));
    let servers = plan.agent.iter().filter(move |_| !replayed).flat_map(|agent| &agent.mcp);
    servers.filter_map(|server| {
        let McpWay::Program(McpProgram { image: McpImage::Resource(image), .. }) = &server.way
        else {
            return None;
        };
        let owner = image_owner(&leaf.plan.id, &server.name);
        Some((owner, format!("image of {}", server.name), &**image))
    })
}

/// For whom images are fetched beside a step's own.
pub(crate) fn image_owners(context: &BuildContext, leaf: &Leaf) -> Vec<PlanId> {
    let PlanStep::Task(plan) = &leaf.plan.step else { return Vec::new() };
    images(context, leaf, plan).map(|(owner, ..)| owner).collect()
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
    let image = match &written.image {
        McpImage::Step => ProgramImage::Step,
        McpImage::Artifact(name) => match context.interpolate_text(leaf, name).await? {
            name if name.is_empty() => ProgramImage::Step,
            name => ProgramImage::Artifact(name),
        },
        McpImage::Resource(_) => ProgramImage::Fetched(image_owner(&leaf.plan.id, name)),
    };
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
