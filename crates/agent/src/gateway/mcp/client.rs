//! A connection to one MCP server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
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
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::sync::Mutex;

use super::words;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Pages of a server's list of tools that are read.
const PAGES_MAX: usize = 64;
/// Bytes of a tool's description that are handed on.
const DESCRIPTION_BYTES: usize = 8 << 10;
/// Tools that are named where one is missing.
const NAMED_MAX: usize = 20;

pub(super) struct Client {
    server: mcp::Server,
    http: reqwest::Client,
    headers: HashMap<HeaderName, HeaderValue>,
    idle: Duration,
    /// Made when it is first needed, and again after it broke.
    running: Mutex<Option<Arc<Running>>>,
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
        let name = &server.name;
        let headers = server.headers.iter().map(|(key, value)| {
            let wrong = || format!("the MCP server `{name}`: the header `{key}` cannot be sent");
            let key = HeaderName::try_from(key).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((key, value))
        });
        let headers = headers.collect::<Result<_, String>>()?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(idle))
            // The headers go to the server that was named, and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("set up the way to the MCP server `{name}`: {error}"))?;
        Ok(Self { server, http, headers, idle, running: Mutex::default() })
    }

    /// Why a tool may not be called, if so.
    pub(super) fn denies(&self, tool: &str) -> Option<String> {
        let mcp::Server { name, tools, .. } = &self.server;
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
        let granted = self.server.tools.iter().map(|granted| {
            let tool = listed.iter().find(|tool| tool.name == *granted);
            tool.cloned().ok_or_else(|| {
                let (name, url) = (&self.server.name, &self.server.url);
                let names = listed.iter().take(NAMED_MAX).map(|tool| tool.name.as_str());
                let names: Vec<&str> = names.collect();
                format!(
                    "the MCP server `{name}` at {url} has no tool `{granted}`; it has: {}",
                    names.join(", ")
                )
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
            let mcp::Server { name, url, .. } = &self.server;
            let seconds = self.idle.as_secs_f32();
            Err(format!("the MCP server `{name}` at {url} did not answer within {seconds} s"))
        })
    }

    async fn connected(&self) -> Result<Arc<Running>, String> {
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_ref().filter(|running| !running.is_closed()) {
            return Ok(Arc::clone(running));
        }
        let mcp::Server { name, url, .. } = &self.server;
        let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
            .custom_headers(self.headers.clone());
        let transport = StreamableHttpClientTransport::with_client(self.http.clone(), config);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let begun = serve_client_with_lifecycle(Us, transport, lifecycle).await;
        let begun = begun.map_err(|error| {
            let why = words::not_begun(&error);
            format!("the MCP server `{name}` at {url} cannot be reached: {why}")
        })?;
        Ok(Arc::clone(running.insert(Arc::new(begun))))
    }

    /// Says what went wrong, and forgets a connection that broke.
    async fn failed(&self, broken: &Arc<Running>, error: &ServiceError) -> String {
        let mcp::Server { name, url, .. } = &self.server;
        if matches!(error, ServiceError::TransportSend(_) | ServiceError::TransportClosed) {
            let mut running = self.running.lock().await;
            if running.as_ref().is_some_and(|running| Arc::ptr_eq(running, broken)) {
                *running = None;
            }
        }
        format!("the MCP server `{name}` at {url} did not answer: {}", words::not_done(error))
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
