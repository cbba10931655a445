//! What a harness and its gateway are told.

use jb_agent_protocol::{
    CONTEXT_DIR, CONTEXT_UNTRUSTED, CommandLine, GatewayBudget, GatewaySpec, LoopSpec,
    RECORDING_DIR, RECORDING_FILE, Root, SOCKET, Spent, ToolGrant, approval,
    suspension::Suspension,
};
use jb_model::Value;
use jb_model::agent::{AgentConfig, AskedTool, Harness, ResultSchema, ShellGrant, Tool};
use jb_model::config::TaskConfig;
use jb_runtime::{Mount, MountSource};
use serde_json::json;

use super::model::Chosen;
use super::network;
use super::servers::{self, Program, Servers};
use crate::agents::AgentSettings;
use crate::build::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// The largest file that holds a prompt or a schema.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Milliseconds before the model is asked again the first time.
const RETRY_PAUSE_MS: u64 = 500;

/// A step's agent with everything resolved.
pub(super) struct Setup<'a> {
    model: Chosen,
    prompt: String,
    schema: Option<Value>,
    servers: Servers,
    agent: &'a AgentConfig,
    settings: &'a AgentSettings,
}

impl<'a> Setup<'a> {
    /// Resolves the agent's words and reads its files.
    pub(super) async fn new(
        context: &'a BuildContext,
        leaf: &Leaf,
        name: &str,
        agent: &'a AgentConfig,
    ) -> Result<Self, Trouble> {
        let settings = &context.engine.settings.agents;
        let named = context.interpolate_text(leaf, &agent.model).await?;
        let model = Chosen::new(settings, name, &named).map_err(Trouble::new)?;
        if let Some(key) = model.key() {
            context.add_secret(&Value::String(key.to_owned()));
        }
        speaks(agent.harness, &model)?;
        let prompt = if agent.prompt_file.is_empty() {
            context.interpolate_text(leaf, &agent.prompt).await?
        } else {
            let file = context.interpolate_text(leaf, &agent.prompt_file).await?;
            text_file(context, leaf, &file).await?
        };
        if prompt.trim().is_empty() {
            return Err(Trouble::new("the agent's prompt is empty"));
        }
        let schema = match &agent.result {
            Some(ResultSchema::Inline(schema)) => Some(schema.clone()),
            Some(ResultSchema::File(file)) => {
                let file = context.interpolate_text(leaf, file).await?;
                Some(schema_file(&file, &text_file(context, leaf, &file).await?)?)
            }
            None => agent.verdict.as_ref().map(|verdict| verdict.schema()),
        };
        let servers = servers::resolve(context, leaf, agent, model.recording.is_some()).await?;
        Ok(Self { model, prompt, schema, servers, agent, settings })
    }

    pub(super) fn model_name(&self) -> &str {
        &self.model.full_name
    }

    /// What the gateway answers from instead of a model.
    pub(super) fn recording(&self) -> Option<&str> {
        self.model.recording.as_deref()
    }

    /// The MCP servers to start.
    pub(super) fn programs(&self) -> &[Program] {
        &self.servers.programs
    }

    /// What the harness is told.
    pub(super) fn harness(
        &self,
        name: &str,
        working_dir: &str,
        mounts: &[Mount],
        config: &TaskConfig,
        off_limits: &[String],
        suspension: Option<Suspension>,
    ) -> Value {
        json!(LoopSpec {
            name: name.to_owned(),
            model: self.model.name.clone(),
            api: self.model.upstream.api(),
            prompt: self.prompt.clone(),
            socket: SOCKET.to_owned(),
            working_dir: working_dir.to_owned(),
            roots: roots(working_dir, mounts, config),
            tools: self.agent.tools.iter().map(grant).collect(),
            mcp: self.servers.told.iter().map(servers::grant).collect(),
            asked: asked(self.agent),
            suspension,
            result_schema: self.schema.clone(),
            network: network::reach(self.agent),
            forbidden: network::forbidden(self.agent, self.settings, off_limits),
            retry_pause_ms: RETRY_PAUSE_MS,
            context_tokens: self.model.context_tokens,
        })
    }

    /// What the gateway is told: the only place that the key goes to.
    pub(super) fn gateway(
        &self,
        redact: Vec<String>,
        off_limits: &[String],
        spent: Spent,
        over_again: bool,
    ) -> Value {
        let (model, budget) = (&self.model, &self.agent.budget);
        let recording = format!("{RECORDING_DIR}/{RECORDING_FILE}");
        json!(GatewaySpec {
            socket: SOCKET.to_owned(),
            upstream: model.upstream.clone(),
            provider: model.provider().to_owned(),
            models: [(model.name.clone(), model.prices)].into(),
            budget: GatewayBudget {
                turns: Some(budget.turns.unwrap_or(self.settings.turns)),
                tokens: budget.tokens,
                cost_micros: budget.cost_micros,
            },
            spent,
            over_again,
            mcp: self.servers.told.clone(),
            proxy: network::proxy(self.agent, self.settings, off_limits),
            // What is answered from one is there already.
            recording: model.recording.is_none().then_some(recording),
            redact,
            idle_timeout_ms: u64::try_from(self.settings.idle_timeout.as_millis())
                .unwrap_or(u64::MAX),
            context_tokens: model.context_tokens,
        })
    }
}

/// The verb of the agent's program that is this harness or drives it.
pub(super) fn verb(harness: Harness) -> &'static str {
    match harness {
        Harness::Builtin => "loop",
        driven => driven.as_str(),
    }
}

/// Refuses a harness that does not speak the model's language.
fn speaks(harness: Harness, model: &Chosen) -> Result<(), Trouble> {
    let Some(line) = CommandLine::named(harness.as_str()) else { return Ok(()) };
    if line.apis.contains(&model.upstream.api()) {
        return Ok(());
    }
    let apis: Vec<&str> = line.apis.iter().map(|api| api.as_str()).collect();
    Err(Trouble::new(format!(
        "the harness `{}` speaks to models by {}, and `{}` is spoken to by {}: name another model or harness",
        line.name,
        apis.join(" or "),
        model.full_name,
        model.upstream.api().as_str()
    )))
}

async fn text_file(context: &BuildContext, leaf: &Leaf, file: &str) -> Result<String, Trouble> {
    let content = context.read_artifact_file(leaf, file, FILE_BYTES_MAX).await?;
    String::from_utf8(content).map_err(|_| Trouble::new(format!("{file} is no UTF-8 text")))
}

/// A schema as YAML or JSON.
fn schema_file(file: &str, text: &str) -> Result<Value, Trouble> {
    let schema = jb_pipeline::load_var::decode("yaml", file, text.as_bytes())
        .map_err(|error| Trouble::new(format!("the result's schema {file}: {error}")))?;
    jb_pipeline::result_schema::check(&schema)
        .map_err(|error| Trouble::new(format!("the result's schema {file}: {error}")))?;
    Ok(schema)
}

fn grant(tool: &Tool) -> ToolGrant {
    match tool {
        Tool::Read => ToolGrant::Read,
        Tool::Edit => ToolGrant::Edit,
        Tool::Write => ToolGrant::Write,
        Tool::Search => ToolGrant::Search,
        Tool::Shell(grants) => {
            ToolGrant::Shell(grants.iter().map(ShellGrant::as_str).map(str::to_owned).collect())
        }
    }
}

/// Which calls wait for people.
fn asked(agent: &AgentConfig) -> approval::Asked {
    let mut asked = approval::Asked::default();
    for tool in agent.approval.iter().flat_map(|approval| &approval.tools) {
        match tool {
            AskedTool::Named(name) => asked.tools.push(name.clone()),
            AskedTool::Shell(grants) => {
                asked.shell.extend(grants.iter().map(|grant| grant.as_str().to_owned()));
            }
        }
    }
    asked
}

/// The step's inputs and outputs; only what outlives the step is written.
fn roots(working_dir: &str, mounts: &[Mount], config: &TaskConfig) -> Vec<Root> {
    let outputs: Vec<String> = config
        .outputs
        .iter()
        .map(|output| crate::workspace::clean_path(output.resolved_path()))
        .collect();
    let mounts = mounts.iter().filter_map(|mount| {
        let writable = match &mount.source {
            MountSource::Input { copy, .. } => copy.is_some(),
            // Caches of builds without a job are outputs that nobody named.
            MountSource::Output(_) => outputs.contains(&mount.path),
            MountSource::Cache(_) | MountSource::Link(_) => false,
        };
        let is_input = matches!(mount.source, MountSource::Input { .. });
        (is_input || writable).then(|| {
            let path = if mount.path.starts_with('/') {
                mount.path.clone()
            } else {
                format!("{working_dir}/{}", mount.path)
            };
            let untrusted = mount.path == CONTEXT_DIR;
            let untrusted = untrusted.then(|| CONTEXT_UNTRUSTED.to_owned());
            Root { path, writable, untrusted }
        })
    });
    mounts.collect()
}
