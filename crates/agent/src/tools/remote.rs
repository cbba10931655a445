//! Tools of MCP servers. The gateway calls them; here they are offered, and asked for at its socket.

use std::time::Duration;

use jb_agent_protocol::transcript::ToolOutcome;
use jb_agent_protocol::{LoopSpec, mcp};
use jb_model::agent::McpServer;
use serde_json::{Value, json};

use crate::message::root_cause;

/// How often a gateway that is not there yet is asked again; the pauses double.
const ATTEMPTS_MAX: u32 = 6;

/// The tools of all servers of a step.
#[derive(Default)]
pub(crate) struct Remote {
    /// The way to the gateway; none where there are no servers.
    http: Option<reqwest::Client>,
    tools: Vec<Offered>,
}

struct Offered {
    /// For the agent.
    name: String,
    server: String,
    tool: mcp::Tool,
}

impl Remote {
    /// Asks for the tools that are granted.
    ///
    /// # Errors
    /// When a server cannot be reached or has not all of them; the text says which.
    pub(crate) async fn of(spec: &LoopSpec) -> Result<Self, String> {
        if spec.mcp.is_empty() {
            return Ok(Self::default());
        }
        let http = reqwest::Client::builder()
            .unix_socket(spec.socket.as_str())
            .build()
            .map_err(|error| format!("set up the way to the gateway: {error}"))?;
        let mut tools = Vec::new();
        for grant in &spec.mcp {
            let pause = Duration::from_millis(spec.retry_pause_ms);
            let server = &grant.server;
            tools.extend(list(&http, server, pause).await?.into_iter().map(|tool| Offered {
                name: McpServer::offered_name(server, &tool.name),
                server: server.clone(),
                tool,
            }));
        }
        Ok(Self { http: Some(http), tools })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|offered| offered.name.as_str())
    }

    /// As the model is told of them.
    pub(super) fn definitions(&self) -> impl Iterator<Item = Value> {
        self.tools.iter().map(|Offered { name, tool, .. }| {
            json!({"name": name, "description": tool.description, "input_schema": tool.input_schema})
        })
    }

    /// Calls the tool with this name; none when there is no such tool.
    pub(super) async fn call(&self, name: &str, input: &Value) -> Option<mcp::Answer> {
        let Offered { server, tool, .. } = self.tools.iter().find(|tool| tool.name == name)?;
        let http = self.http.as_ref()?;
        let failed = |text: String| mcp::Answer { outcome: ToolOutcome::Failed, text };
        let Value::Object(arguments) = input else {
            return Some(failed("the input is no JSON object".to_owned()));
        };
        let call = mcp::Call { name: tool.name.clone(), arguments: arguments.clone() };
        let answer = http.post(address(server)).json(&call).send().await;
        let answer = match answer {
            Ok(answer) => read(answer).await,
            Err(error) => Err(format!("the gateway does not answer: {}", root_cause(&error))),
        };
        Some(answer.unwrap_or_else(failed))
    }
}

fn address(server: &str) -> String {
    format!("http://gateway{}", mcp::path(server))
}

/// The granted tools of one server, from a gateway that may take a moment to be there.
async fn list(
    http: &reqwest::Client,
    server: &str,
    mut pause: Duration,
) -> Result<Vec<mcp::Tool>, String> {
    let mut attempt = 1;
    loop {
        match http.get(address(server)).send().await {
            Ok(answer) => return read(answer).await,
            Err(error) if attempt == ATTEMPTS_MAX => {
                return Err(format!("the gateway does not answer: {}", root_cause(&error)));
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        attempt += 1;
        pause *= 2;
    }
}

/// What the gateway answers, or its error.
async fn read<T: serde::de::DeserializeOwned>(answer: reqwest::Response) -> Result<T, String> {
    let status = answer.status();
    let body = answer.bytes().await;
    let body = body.map_err(|error| format!("the gateway's answer: {}", root_cause(&error)))?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|error| format!("the gateway's answer: {error}"));
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let said = body["error"]["message"].as_str().map(str::to_owned);
    Err(said.unwrap_or_else(|| format!("the gateway answers with HTTP {status}")))
}
