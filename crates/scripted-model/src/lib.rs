//! A model service that answers from a script, for tests and demos.
//!
//! It speaks Anthropic's Messages, and OpenAI's Responses and Chat Completions, streamed and not. The script is data: rules that look at a request, and what is
//! answered to it. The first rule that matches and is not used up answers; a request that no rule wants is an error that
//! says so, which fails whatever test made it.

mod chat;
mod host;
mod mcp;
mod messages;
mod responses;
mod script;
mod speech;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::post;
use futures_util::{StreamExt as _, stream};
use jb_agent_protocol::Api;
use serde_json::Value;
use tokio::net::TcpListener;

pub use host::ScriptedHost;
pub use mcp::{MCP_PROGRAM, McpRevision, ScriptedMcp};
pub use script::{Reply, Rule, Said, Script, ToolUse, Usage, When};

/// Between the pieces of an answer that never ends.
const ENDLESS_PAUSE: Duration = Duration::from_millis(5);

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// When all of it was there.
    pub at: SystemTime,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A running service. It ends with the process, or when dropped.
pub struct ScriptedModel {
    address: SocketAddr,
    state: Arc<Service>,
    server: tokio::task::JoinHandle<()>,
}

struct Service {
    script: Mutex<Playing>,
    received: Mutex<Vec<Received>>,
}

struct Playing {
    rules: Vec<Rule>,
    /// How often each rule answered.
    used: Vec<u32>,
}

impl ScriptedModel {
    /// Begins to serve a script.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start(address: SocketAddr, script: Script) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let used = vec![0; script.rules.len()];
        let script = Mutex::new(Playing { rules: script.rules, used });
        let state = Arc::new(Service { script, received: Mutex::default() });
        let router = Api::ALL.into_iter().fold(Router::new(), |router, api| {
            let answers = async move |State(service), headers, body| {
                answer(api, service, headers, body).await
            };
            router.route(api.path(), post(answers))
        });
        let router = router.with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                // Its requests fail, which is how tests notice.
                drop(error);
            }
        });
        Ok(Self { address, state, server })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request that came, in order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state.received).clone()
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Playing {
    fn reply(&mut self, request: &Value, number: usize) -> Option<Reply> {
        let mut rules = self.rules.iter().zip(&mut self.used);
        let (rule, used) = rules.find(|(rule, used)| {
            rule.times.is_none_or(|times| **used < times) && rule.when.matches(request, number)
        })?;
        *used += 1;
        Some(rule.reply.clone())
    }
}

async fn answer(
    api: Api,
    service: Arc<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let invalid = |what: &str| problem(api, 400, "invalid_request_error", what, None);
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return invalid("the body is no JSON");
    };
    let number = {
        let mut received = lock(&service.received);
        received.push(Received { at: SystemTime::now(), headers, body: request.clone() });
        received.len()
    };
    if let Err(what) = speech::check(api, &request) {
        return invalid(&what);
    }
    let reply = lock(&service.script).reply(&request, number);
    let reply = reply.map(|reply| reply.with_offered_names(&request));
    let Some(reply) = reply else {
        let last = script::last(&request);
        return invalid(&format!("no rule of the script wants request {number}: {last}"));
    };
    let streamed = request["stream"].as_bool().unwrap_or(false);
    let speech = speech::Speech { api, model: request["model"].as_str().unwrap_or(""), number };
    let pieces = |pieces: Vec<String>| {
        let pieces = stream::iter(pieces).map(Ok::<_, std::io::Error>);
        events(Body::from_stream(pieces))
    };
    match reply {
        Reply::Say(said) if streamed => pieces(speech.events(&said)),
        Reply::Say(said) => json_body(200, &speech.whole(&said)),
        Reply::Error { status, kind, message, retry_after } => {
            problem(api, status, &kind, &message, retry_after)
        }
        Reply::Garbage(body) => events(Body::from(body)),
        Reply::Silence => std::future::pending().await,
        Reply::Hang => {
            let said = speech.events(&script::Said::default());
            let first = stream::iter(said.into_iter().take(1)).map(Ok::<_, std::io::Error>);
            events(Body::from_stream(first.chain(stream::pending())))
        }
        Reply::CutOff(said) => {
            let mut half = speech.events(&said);
            half.truncate(half.len() / 2);
            pieces(half)
        }
        Reply::Endless(text) => {
            let begin = speech.beginning();
            let endless = stream::repeat(speech.piece(&text)).then(async |piece| {
                tokio::time::sleep(ENDLESS_PAUSE).await;
                piece
            });
            let all = stream::iter(begin).chain(endless).map(Ok::<_, std::io::Error>);
            events(Body::from_stream(all))
        }
    }
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = header::HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn json_body(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn problem(
    api: Api,
    status: u16,
    kind: &str,
    message: &str,
    retry_after: Option<u64>,
) -> Response<Body> {
    let mut response = json_body(status, &speech::problem(api, kind, message));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}
