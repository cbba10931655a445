//! A connection to one MCP server.

use std::sync::Arc;
use std::time::Duration;

use jb_agent_protocol::mcp;
use jb_agent_protocol::transcript::ToolOutcome;
use rmcp::handler::client::ClientHandler;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation,
    PaginatedRequestParams, ProtocolVersion,
};
use rmcp::service::{
    ClientLifecycleMode, Peer, RoleClient, RunningService, ServiceError,
    serve_client_with_lifecycle,
};
use tokio::sync::Mutex;

use super::http::Http;
use super::program::Program;
use super::words;

/// Pages of a server's list of tools that are read.
const PAGES_MAX: usize = 64;
/// Bytes of a tool's description that are handed on.
const DESCRIPTION_BYTES: usize = 8 << 10;
/// Tools that are named where one is missing.
const NAMED_MAX: usize = 20;

pub(super) struct Client {
    name: String,
    /// Those that are granted, as the server calls them.
    tools: Vec<String>,
    way: Way,
    idle: Duration,
    /// Made when it is first needed, and again after it broke.
    running: Mutex<Option<Arc<Running>>>,
}

enum Way {
    Http(Http),
    Program(Program),
}

type Running = RunningService<RoleClient, Us>;

/// What servers are told of their client. It offers them nothing.
struct Us;

impl ClientHandler for Us {
    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("jetbridge", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), own)
    }
}

impl Client {
    /// # Errors
    /// When a header cannot be sent, or no HTTP client can be made.
    pub(super) fn new(server: mcp::Server, idle: Duration) -> Result<Self, String> {
        let mcp::Server { name, tools, way } = server;
        let way = match way {
            mcp::Way::Http { url, headers } => Way::Http(Http::new(&name, url, headers, idle)?),
            mcp::Way::Program { socket, command, .. } => {
                Way::Program(Program::new(socket, command))
            }
        };
        Ok(Self { name, tools, way, idle, running: Mutex::default() })
    }

    /// What it is called in messages.
    fn called(&self) -> String {
        let name = &self.name;
        match &self.way {
            Way::Http(http) => format!("the MCP server `{name}` at {}", http.url()),
            Way::Program(program) => format!("the MCP server `{name}` ({})", program.command()),
        }
    }

    /// By what it is reached, in OpenTelemetry's words.
    pub(super) const fn transport(&self) -> &'static str {
        match self.way {
            Way::Http(_) => "tcp",
            Way::Program(_) => "pipe",
        }
    }

    /// The protocol's revision that is spoken; empty when none is.
    pub(super) async fn revision(&self) -> String {
        let running = self.running.lock().await;
        let info = running.as_ref().and_then(|running| running.peer_info());
        info.map(|info| info.protocol_version.to_string()).unwrap_or_default()
    }

    /// Why a tool may not be called, if so.
    pub(super) fn denies(&self, tool: &str) -> Option<String> {
        let Self { name, tools, .. } = self;
        if tools.iter().any(|granted| granted == tool) {
            return None;
        }
        let (tool, tools) = (crate::output::cut(tool, 100), tools.join(", "));
        Some(format!(
            "the tool `{tool}` of the MCP server `{name}` is not granted; there are: {tools}"
        ))
    }

    /// The granted tools, in the order of their grants.
    ///
    /// # Errors
    /// When the server cannot be reached, or has not all of them; the text says which.
    pub(super) async fn tools(&self) -> Result<Vec<mcp::Tool>, String> {
        let listed = async {
            let running = self.connected().await?;
            let listed = list(&running).await;
            match listed {
                Ok(tools) => Ok(tools),
                Err(error) => Err(self.failed(&running, &error).await),
            }
        };
        let listed = self.in_time(listed).await?;
        let granted = self.tools.iter().map(|granted| {
            let tool = listed.iter().find(|tool| tool.name == *granted);
            tool.cloned().ok_or_else(|| {
                let names = listed.iter().take(NAMED_MAX).map(|tool| tool.name.as_str());
                let names: Vec<&str> = names.collect();
                format!("{} has no tool `{granted}`; it has: {}", self.called(), names.join(", "))
            })
        });
        granted.collect()
    }

    /// Calls a tool. Whatever goes wrong is the answer.
    pub(super) async fn call(&self, call: mcp::Call) -> mcp::Answer {
        let answer = async {
            let running = self.connected().await?;
            let mcp::Call { name, arguments } = call;
            let params = CallToolRequestParams::new(name).with_arguments(arguments);
            match running.call_tool(params).await {
                Ok(result) => Ok(words::answer(&result)),
                Err(error) => Err(self.failed(&running, &error).await),
            }
        };
        let failed = |text| mcp::Answer { outcome: ToolOutcome::Failed, text };
        self.in_time(answer).await.unwrap_or_else(failed)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let done = tokio::time::timeout(self.idle, work).await;
        done.unwrap_or_else(|_| {
            let seconds = self.idle.as_secs_f32();
            Err(format!("{} did not answer within {seconds} s", self.called()))
        })
    }

    async fn connected(&self) -> Result<Arc<Running>, String> {
        if let Way::Program(program) = &self.way
            && let Some(why) = program.over()
        {
            return Err(format!("{}; it is not started again", self.over(&why)));
        }
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_ref().filter(|running| !running.is_closed()) {
            return Ok(Arc::clone(running));
        }
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let begun = match &self.way {
            Way::Http(http) => serve_client_with_lifecycle(Us, http.transport(), lifecycle).await,
            Way::Program(program) => {
                let transport = program.transport().await;
                let transport = transport.map_err(|why| self.over(&why))?;
                serve_client_with_lifecycle(Us, transport, lifecycle).await
            }
        };
        let begun = begun.map_err(|error| match &self.way {
            Way::Http(_) => {
                format!("{} cannot be reached: {}", self.called(), words::not_begun(&error))
            }
            Way::Program(program) => match program.over() {
                Some(why) => self.over(&why),
                None => format!("{} did not begin: {}", self.called(), words::not_begun(&error)),
            },
        })?;
        Ok(Arc::clone(running.insert(Arc::new(begun))))
    }

    /// Of a server that is a program and no more.
    fn over(&self, why: &str) -> String {
        format!("{} {}", self.called(), words::line(why))
    }

    /// Says what went wrong, and forgets a connection that broke.
    async fn failed(&self, broken: &Arc<Running>, error: &ServiceError) -> String {
        if let Way::Program(program) = &self.way
            && let Some(why) = program.over()
        {
            return self.over(&why);
        }
        if matches!(error, ServiceError::TransportSend(_) | ServiceError::TransportClosed) {
            let mut running = self.running.lock().await;
            if running.as_ref().is_some_and(|running| Arc::ptr_eq(running, broken)) {
                *running = None;
            }
        }
        format!("{} did not answer: {}", self.called(), words::not_done(error))
    }
}

async fn list(peer: &Peer<RoleClient>) -> Result<Vec<mcp::Tool>, ServiceError> {
    let mut tools = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let asked = PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer.list_tools(Some(asked)).await?;
        tools.extend(page.tools.into_iter().map(|tool| mcp::Tool {
            name: tool.name.into_owned(),
            description: crate::output::cut(
                &tool.description.unwrap_or_default(),
                DESCRIPTION_BYTES,
            ),
            input_schema: tool.input_schema.as_ref().clone(),
        }));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(tools)
}
