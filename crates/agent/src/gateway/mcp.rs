//! MCP servers: the gateway is their only client, and lets through what is granted.
//!
//! Headers of the pipeline's are sent to the address it names and to no other, and whatever secret is in them, or in what a
//! program was started with, is masked in what comes back. Answers are recorded, and answered again from a recording, like those of the model.

mod client;
mod http;
mod program;
mod words;

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use jb_agent_protocol::transcript::ToolOutcome;
use jb_agent_protocol::{Entry, mcp};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answers, Exchange, Gateway, REQUEST_BYTES_MAX, mask, mask_value, problem};
use crate::output::cut;
use client::Client;

/// Characters of an error that is handed on.
const ERROR_BYTES: usize = 1000;
const JSON: &str = "application/json";

/// The servers of a step.
pub(super) struct Servers {
    servers: BTreeMap<String, Client>,
    /// Secrets that are sent to them.
    secrets: Vec<String>,
}

impl Servers {
    /// # Errors
    /// When a header is none, or no HTTP client can be made.
    pub(super) fn new(
        servers: Vec<mcp::Server>,
        redact: &[String],
        idle: std::time::Duration,
    ) -> Result<Self, String> {
        let sent: Vec<&String> = servers.iter().flat_map(sent).collect();
        let secrets = redact.iter().filter(|secret| sent.iter().any(|text| text.contains(*secret)));
        let secrets = secrets.cloned().collect();
        let clients = servers.into_iter().map(|server| {
            let name = server.name.clone();
            Client::new(server, idle).map(|client| (name, client))
        });
        Ok(Self { servers: clients.collect::<Result<_, _>>()?, secrets })
    }
}

/// The texts that a server is sent, or started with.
fn sent(server: &mcp::Server) -> Vec<&String> {
    match &server.way {
        mcp::Way::Http { headers, .. } => headers.values().collect(),
        mcp::Way::Program { sent, .. } => sent.iter().collect(),
    }
}

/// An answer on its way to the agent.
struct Said {
    status: StatusCode,
    body: Value,
}

impl Said {
    fn ok(body: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, body: json!(body) }
    }

    fn error(status: StatusCode, what: &str) -> Self {
        let error = json!({"type": "mcp_error", "message": cut(what, ERROR_BYTES)});
        Self { status, body: json!({"type": "error", "error": error}) }
    }
}

/// Answers a request below [`mcp::PATH`].
pub(super) async fn handle(gateway: &Gateway, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let name = head.uri.path().strip_prefix(mcp::PATH).unwrap_or_default().to_owned();
    let Some(client) = gateway.mcp.servers.get(&name) else {
        let what = format!("the MCP server `{}` is not granted to this step", cut(&name, 100));
        return problem(StatusCode::FORBIDDEN, "permission_error", &what);
    };
    match head.method {
        Method::GET => {
            let asked = json!({"method": "tools/list"});
            exchange(gateway, &name, asked, async {
                match client.tools().await {
                    Ok(tools) => Said::ok(&tools),
                    Err(what) => Said::error(StatusCode::BAD_GATEWAY, &what),
                }
            })
            .await
        }
        Method::POST => {
            let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
                let what = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
                return problem(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", &what);
            };
            let Ok(call) = serde_json::from_slice::<mcp::Call>(&body) else {
                let what = "the body is no call of a tool";
                return problem(StatusCode::BAD_REQUEST, "invalid_request_error", what);
            };
            if let Some(text) = client.denies(&call.name) {
                let denied = mcp::Answer { outcome: ToolOutcome::Denied, text };
                return respond(Said::ok(&denied));
            }
            let asked = json!(call);
            exchange(gateway, &name, asked, async {
                let (tool, began) = (call.name.clone(), Instant::now());
                let answer = client.call(call).await;
                gateway.output.say(Entry::McpCall {
                    server: name.clone(),
                    tool,
                    outcome: answer.outcome,
                    protocol: client.revision().await,
                    transport: client.transport().to_owned(),
                    total_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                });
                Said::ok(&answer)
            })
            .await
        }
        method => {
            let what = format!("{method} {} is not let through", head.uri.path());
            problem(StatusCode::NOT_FOUND, "not_found_error", &what)
        }
    }
}

/// Takes the answer from the server and records it, or takes it from the recording.
async fn exchange(
    gateway: &Gateway,
    server: &str,
    asked: Value,
    answer: impl Future<Output = Said>,
) -> Response<Body> {
    let path = mcp::path(server);
    let asked = mask_value(&gateway.redact, &asked);
    let recording = match &gateway.answers {
        Answers::Service(_) => {
            let Said { status, body } = answer.await;
            let said = Said { status, body: mask_value(&gateway.mcp.secrets, &body) };
            return respond(match record(gateway, &path, asked, &said) {
                Ok(()) => said,
                Err(problem) => Said::error(StatusCode::INTERNAL_SERVER_ERROR, &problem),
            });
        }
        Answers::Recording(recording) => recording,
    };
    let found = recording.lock().unwrap_or_else(PoisonError::into_inner).find(&path, &asked);
    match found {
        Ok(recorded) => {
            let status = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::BAD_GATEWAY);
            let body = serde_json::from_str(&recorded.pieces.concat()).unwrap_or(Value::Null);
            respond(Said { status, body })
        }
        Err(difference) => {
            let what = format!("a call of the MCP server `{server}` is not the recorded one");
            let number = gateway.used().requests;
            let difference = format!("{path}: {difference}");
            let said = Said::error(StatusCode::CONFLICT, &format!("{what}: {difference}"));
            gateway.output.say(Entry::ReplayMismatch { number, difference });
            respond(said)
        }
    }
}

fn record(gateway: &Gateway, path: &str, asked: Value, said: &Said) -> Result<(), String> {
    let Some(recorder) = &gateway.recorder else { return Ok(()) };
    let mut exchange = Exchange::new(path, asked, said.status.as_u16(), JSON, None);
    exchange.piece(mask_value(&gateway.redact, &said.body).to_string().as_bytes());
    recorder.write(exchange, |text| mask(&gateway.redact, text))
}

fn respond(said: Said) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(said.body.to_string())));
    *response.status_mut() = said.status;
    let json = header::HeaderValue::from_static(JSON);
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
