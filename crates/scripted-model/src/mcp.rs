//! An MCP server with a few small tools, for tests.
//!
//! `search` finds what it is asked for, `whoami` says the credentials it was sent, `drop` must never be called, `broken`
//! fails as a tool, `faulty` as a server, `large` answers with more than anybody wants, and `endless` without an end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::post;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Received, json_body, lock};

/// A server that is a program, for a shell; its beginning says what it does.
pub const MCP_PROGRAM: &str = include_str!("mcp.sh");

const PATH: &str = "/mcp";
const SESSION: &str = "mcp-session-id";
const SESSION_ID: &str = "session-1";
const NO_METHOD: i64 = -32601;
const LARGE_BYTES: usize = 1 << 20;
const ENDLESS_PIECE_BYTES: usize = 64 << 10;

/// The protocol's revision that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpRevision {
    /// 2025-11-25: a session that is begun, and answers as events.
    Sessions,
    /// 2026-07-28: each request for itself.
    Stateless,
}

/// A running server. It ends with the process, or when dropped.
pub struct ScriptedMcp {
    address: SocketAddr,
    service: Arc<Service>,
    server: tokio::task::JoinHandle<()>,
}

struct Service {
    revision: McpRevision,
    /// What `authorization` has to be, if anything.
    wanted: Option<String>,
    received: Mutex<Vec<Received>>,
    /// Bytes of answers without an end that were taken.
    endless_bytes: AtomicU64,
}

impl ScriptedMcp {
    /// Begins to serve. With `wanted`, requests with another `authorization` are refused.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start(
        address: SocketAddr,
        revision: McpRevision,
        wanted: Option<&str>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (wanted, received) = (wanted.map(str::to_owned), Mutex::default());
        let endless_bytes = AtomicU64::new(0);
        let service = Arc::new(Service { revision, wanted, received, endless_bytes });
        let router = Router::new().route(PATH, post(answer)).with_state(Arc::clone(&service));
        let server = tokio::spawn(async move {
            // Without it requests fail, which is how tests notice.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { address, service, server })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every message that came, in order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.service.received).clone()
    }

    /// How many bytes of answers without an end were taken.
    pub fn endless_bytes(&self) -> u64 {
        self.service.endless_bytes.load(Ordering::Relaxed)
    }

    /// The names of the tools that were called, in order.
    pub fn called(&self) -> Vec<String> {
        let received = self.received();
        let calls = received.iter().filter(|message| message.body["method"] == "tools/call");
        calls.filter_map(|call| call.body["params"]["name"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for ScriptedMcp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return json_body(400, &json!({"error": "the body is no JSON"}));
    };
    let received =
        Received { at: SystemTime::now(), headers: headers.clone(), body: message.clone() };
    lock(&service.received).push(received);
    let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let said = said.unwrap_or_default();
    if service.wanted.as_deref().is_some_and(|wanted| wanted != said) {
        let mut refused = json_body(401, &json!({"error": "who are you"}));
        let challenge = header::HeaderValue::from_static("Bearer");
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return refused;
    }
    let Some(id) = message.get("id").cloned() else {
        let mut accepted = Response::new(Body::empty());
        *accepted.status_mut() = StatusCode::ACCEPTED;
        return accepted;
    };
    let method = message["method"].as_str().unwrap_or_default();
    let session = headers.get(SESSION).is_some_and(|value| value == SESSION_ID);
    let wants_session = service.revision == McpRevision::Sessions
        && !["initialize", "server/discover"].contains(&method);
    if wants_session && !session {
        return json_body(400, &json!({"error": "there is no session"}));
    }
    if method == "tools/call" && message["params"]["name"] == "endless" {
        return endless(service, &id);
    }
    let result = service.revision.result(method, &message["params"], said);
    let mut reply = json!({"jsonrpc": "2.0", "id": id});
    match result {
        Ok(result) => reply["result"] = result,
        Err((code, message)) => reply["error"] = json!({"code": code, "message": message}),
    }
    service.revision.respond(&reply)
}

/// The beginning of an answer, and then no end of its text.
fn endless(service: Arc<Service>, id: &Value) -> Response<Body> {
    let begin =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    let streamed = service.revision == McpRevision::Sessions;
    let begin = if streamed { format!("event: message\ndata: {begin}") } else { begin };
    let piece = Bytes::from("x".repeat(ENDLESS_PIECE_BYTES));
    let more = stream::repeat(piece).inspect(move |piece| {
        let taken = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        service.endless_bytes.fetch_add(taken, Ordering::Relaxed);
    });
    let all = stream::iter([Bytes::from(begin)]).chain(more).map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(all);
    if streamed {
        return crate::events(body);
    }
    let mut response = Response::new(body);
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl McpRevision {
    fn result(self, method: &str, params: &Value, credentials: &str) -> Result<Value, Problem> {
        let server = json!({"name": "scripted", "version": "1"});
        let mut result = match (self, method) {
            (Self::Sessions, "initialize") => json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server,
            }),
            (Self::Stateless, "server/discover") => json!({
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "ttlMs": 0, "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": server},
            }),
            (_, "tools/list") => tools(params["cursor"].as_str()),
            (_, "tools/call") => call(params, credentials)?,
            (_, "ping") => json!({}),
            _ => return Err((NO_METHOD, format!("there is no method {method}"))),
        };
        if self == Self::Stateless {
            result["resultType"] = json!("complete");
            if method == "tools/list" {
                result["ttlMs"] = json!(0);
                result["cacheScope"] = json!("private");
            }
        }
        Ok(result)
    }

    fn respond(self, reply: &Value) -> Response<Body> {
        if self == Self::Stateless {
            return json_body(200, reply);
        }
        let mut response = crate::events(Body::from(format!("event: message\ndata: {reply}\n\n")));
        let session = header::HeaderValue::from_static(SESSION_ID);
        response.headers_mut().insert(SESSION, session);
        response
    }
}

type Problem = (i64, String);

/// In two pages.
fn tools(cursor: Option<&str>) -> Value {
    let tool = |name: &str, about: &str| {
        let properties = json!({"query": {"type": "string"}});
        let schema = json!({"type": "object", "properties": properties});
        json!({"name": name, "description": about, "inputSchema": schema})
    };
    match cursor {
        None => {
            json!({"tools": [tool("search", "Finds it"), tool("drop", "Drops it")], "nextCursor": "2"})
        }
        Some(_) => {
            let names = ["whoami", "broken", "faulty", "large", "endless"];
            json!({"tools": names.map(|name| tool(name, ""))})
        }
    }
}

fn call(params: &Value, credentials: &str) -> Result<Value, Problem> {
    let query = params["arguments"]["query"].as_str().unwrap_or_default();
    let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
    Ok(match params["name"].as_str().unwrap_or_default() {
        "search" => json!({"content": [
            {"type": "text", "text": format!("found {query}")},
            {"type": "image", "data": "", "mimeType": "image/png"},
        ]}),
        "drop" => text("dropped".to_owned()),
        "whoami" => text(format!("you sent {credentials}")),
        "large" => text("x".repeat(LARGE_BYTES)),
        "broken" => {
            json!({"content": [{"type": "text", "text": "the index is gone"}], "isError": true})
        }
        "faulty" => return Err((-32603, "the database is away".to_owned())),
        name => return Err((-32602, format!("there is no tool {name}"))),
    })
}
