//! The gateway: the agent's only way to a model, and to MCP servers.
//!
//! It listens at a socket that one step's container and its own share. It holds the key, lets only known requests
//! through, counts what they cost, stops at the budget, and records every exchange or answers from a recording. Nothing
//! of the agent's but the body of a request, the version and the beta features it names leaves the machine.

mod forward;
mod mcp;
mod proxy;
mod record;
mod replay;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode, header};
use jb_agent_protocol::recording;
use jb_agent_protocol::suspension::{ANSWERING_PATH, PAST_DIFFERS};
use jb_agent_protocol::{
    AnswerFacts, Api, BUDGET_SPENT, Entry, GatewayBudget, GatewaySpec, Limit, Prices, REDACTED,
    Spent, Upstream, Usage,
};
use serde_json::{Map, Value, json};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::exchange::{Measured, Meter};
use crate::output::{Output, cut};

pub use proxy::{Internet, Outside};
pub(crate) use record::{Exchange, Recorder};

/// The largest request.
const REQUEST_BYTES_MAX: usize = 32 << 20;
/// The least that OpenAI's Responses may be limited to.
const OUTPUT_TOKENS_MIN: u64 = 16;

struct Gateway {
    api: Api,
    answers: Answers,
    /// What a harness that begins anew is told first.
    past: Option<Mutex<replay::Recording>>,
    models: BTreeMap<String, Prices>,
    budget: GatewayBudget,
    /// Whose the models are.
    provider: String,
    idle: Duration,
    recorder: Option<Recorder>,
    redact: Vec<String>,
    mcp: mcp::Servers,
    proxy: Option<proxy::Proxy>,
    output: Output,
    used: Mutex<Used>,
    /// Each clone is an answer on its way.
    answering: Arc<()>,
}

enum Answers {
    Service(forward::Service),
    Recording(Mutex<replay::Recording>),
}

struct Used {
    requests: u32,
    turns: u32,
    tokens: Usage,
    cost_micros: u64,
    /// Whether it was said that the budget is spent.
    told: bool,
}

/// Serves until SIGTERM.
///
/// # Errors
/// When it cannot listen, record or read its recording; the text says which.
pub async fn run(spec: GatewaySpec, output: Output) -> Result<(), String> {
    run_reaching(spec, output, Arc::new(Internet)).await
}

/// As [`run`]; programs of the agent's reach hosts there.
///
/// # Errors
/// As [`run`].
pub async fn run_reaching(
    spec: GatewaySpec,
    output: Output,
    outside: Arc<dyn Outside>,
) -> Result<(), String> {
    let listener = listen(&spec.socket)?;
    let gateway = Arc::new(Gateway::new(spec, output, outside)?);
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let router = Router::new().fallback(handle).with_state(Arc::clone(&gateway));
    tokio::select! {
        served = std::future::IntoFuture::into_future(axum::serve(listener, router)) => {
            served.map_err(|error| format!("serve: {error}"))?;
        }
        _ = terminate.recv() => {}
    }
    if let Some(proxy) = &gateway.proxy {
        proxy.close().await;
    }
    let used = gateway.used();
    let (turns, usage, cost_micros) = (used.turns, used.tokens, used.cost_micros);
    gateway.output.say(Entry::Spent { turns, usage, cost_micros });
    Ok(())
}

/// Listens where an earlier gateway may have. Only the two ends of the link can connect, whoever their processes run as.
fn listen(socket: &str) -> Result<UnixListener, String> {
    crate::link::unix(socket).map_err(|error| format!("listen at {socket}: {error}"))
}

impl Gateway {
    fn new(spec: GatewaySpec, output: Output, outside: Arc<dyn Outside>) -> Result<Self, String> {
        let past = spec.over_again.then(|| past(&spec)).transpose()?;
        let mut redact = spec.redact;
        let idle = Duration::from_millis(spec.idle_timeout_ms);
        let api = spec.upstream.api();
        let Spent { requests, turns, usage, cost_micros } = spec.spent;
        let answers = match spec.upstream {
            Upstream::Service { url, key, .. } => {
                redact.push(key.clone());
                Answers::Service(forward::Service::new(api, &url, key, idle)?)
            }
            Upstream::Replay { path, .. } => {
                Answers::Recording(Mutex::new(replay::Recording::open(&path, api, requests)?))
            }
        };
        redact.retain(|text| text.len() > 1);
        redact.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let (models, budget) = (spec.models, spec.budget);
        let (provider, costs) = (spec.provider.clone(), models.clone());
        let context_tokens = spec.context_tokens;
        let header = recording::Header {
            api,
            provider,
            models: costs,
            context_tokens,
            ..Default::default()
        };
        let recorder = spec.recording.as_deref().map(|path| Recorder::create(path, &header));
        let recorder = recorder.transpose()?;
        let used = Mutex::new(Used { requests, turns, tokens: usage, cost_micros, told: false });
        let provider = spec.provider;
        let mcp = mcp::Servers::new(spec.mcp, &redact, idle)?;
        let outside = matches!(answers, Answers::Service(_)).then_some(outside);
        let proxy = spec.proxy.map(|spec| proxy::Proxy::new(&spec, outside, idle, output.clone()));
        let proxy = proxy.transpose()?;
        Ok(Self {
            api,
            answers,
            past,
            models,
            budget,
            provider,
            idle,
            recorder,
            redact,
            mcp,
            proxy,
            output,
            used,
            answering: Arc::default(),
        })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Masks what no recording may hold.
    fn mask(&self, text: String) -> String {
        mask(&self.redact, text)
    }

    /// The answer to what was asked before; none once all of that was asked again.
    fn before(&self, path: &str, asked: &Value) -> Option<Response<Body>> {
        let mut past = self.past.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let number = past.next()?;
        Some(match past.find(path, asked) {
            Ok(exchange) => replay::again(exchange),
            Err(difference) => {
                let what = format!("{PAST_DIFFERS}: {difference}");
                self.output.say(Entry::ReplayMismatch { number, difference });
                // A status with which programs repeat the words, and do not ask again.
                problem(StatusCode::FORBIDDEN, "past_differs", &what)
            }
        })
    }

    /// Whether a request may still be made; how many tokens the answer may have if so.
    fn admit(&self, prices: &Prices) -> Result<(u32, Option<u64>), Limit> {
        let mut used = self.used();
        if let Some(limit) = self.budget.exceeded(used.turns, used.tokens, used.cost_micros) {
            if !std::mem::replace(&mut used.told, true) {
                self.output.say(Entry::BudgetSpent { limit });
            }
            return Err(limit);
        }
        used.requests += 1;
        let by_tokens = self.budget.tokens.map(|tokens| tokens - used.tokens.total());
        let by_cost = self.budget.cost_micros.filter(|_| prices.output > 0).map(|cost| {
            let left = u128::from(cost - used.cost_micros) * 1_000_000;
            u64::try_from(left / u128::from(prices.output)).unwrap_or(u64::MAX).max(1)
        });
        let room = [by_tokens, by_cost].into_iter().flatten().min();
        Ok((used.requests, room))
    }
}

/// The answers of the model that the step's gateways before this one let through.
fn past(spec: &GatewaySpec) -> Result<Mutex<replay::Recording>, String> {
    let kept = match &spec.upstream {
        Upstream::Replay { path, .. } => Some(path),
        Upstream::Service { .. } => spec.recording.as_ref(),
    };
    let path = kept.ok_or("what the agent did before is not kept")?;
    let taken = spec.spent.requests;
    Ok(Mutex::new(replay::Recording::of_past(path, spec.upstream.api(), taken)?))
}

fn mask(secrets: &[String], text: String) -> String {
    secrets.iter().fold(text, |text, secret| {
        if text.contains(secret) { text.replace(secret, REDACTED) } else { text }
    })
}

/// Masks texts and keys in a value.
fn mask_value(secrets: &[String], value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask(secrets, text.clone())),
        Value::Array(items) => items.iter().map(|item| mask_value(secrets, item)).collect(),
        Value::Object(fields) => {
            let masked = |(key, item): (&String, &Value)| {
                (mask(secrets, key.clone()), mask_value(secrets, item))
            };
            fields.iter().map(masked).collect()
        }
        other => other.clone(),
    }
}

/// What is known of a request while its answer passes.
pub(crate) struct Call {
    gateway: Arc<Gateway>,
    number: u32,
    model: String,
    prices: Prices,
    status: u16,
    meter: Meter,
    exchange: Option<Exchange>,
    _answering: Arc<()>,
    began: Instant,
    first_byte: Option<Duration>,
}

impl Call {
    /// Takes a piece of the answer on its way to the agent.
    fn piece(&mut self, piece: &Bytes) {
        self.first_byte.get_or_insert_with(|| self.began.elapsed());
        self.meter.push(piece);
        if let Some(exchange) = &mut self.exchange {
            exchange.piece(piece);
        }
    }

    /// Counts and records the answer, which ended, or ended early for the reason given.
    fn end(self, broken: Option<String>) {
        let Measured { usage, facts, error } = self.meter.finish(self.status);
        let cost_micros = usage.cost_micros(&self.prices);
        let gateway = &self.gateway;
        {
            let mut used = gateway.used();
            if (200..300).contains(&self.status) {
                used.turns += 1;
            }
            used.tokens.add(usage);
            used.cost_micros = used.cost_micros.saturating_add(cost_micros);
        }
        let mut error = broken.or(error);
        if let (Some(recorder), Some(exchange)) = (&gateway.recorder, self.exchange)
            && let Err(problem) = recorder.write(exchange, |text| gateway.mask(text))
        {
            error.get_or_insert(problem);
        }
        let milliseconds =
            |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        gateway.output.say(Entry::ModelCall {
            number: self.number,
            model: self.model,
            answer: AnswerFacts { provider: gateway.provider.clone(), ..facts },
            status: self.status,
            usage,
            cost_micros,
            first_byte_ms: self.first_byte.map_or(0, milliseconds),
            total_ms: milliseconds(self.began.elapsed()),
            error: error.map(|error| cut(&gateway.mask(error), 1000)),
        });
    }
}

async fn handle(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response<Body> {
    if let Some(proxy) = gateway.proxy.as_ref().filter(|_| proxy::Proxy::is_asked(&request)) {
        return proxy.handle(request).await;
    }
    if request.uri().path().starts_with(jb_agent_protocol::mcp::PATH) {
        return mcp::handle(&gateway, request).await;
    }
    if request.method() == Method::GET && request.uri().path() == ANSWERING_PATH {
        let others = Arc::strong_count(&gateway.answering) - 1;
        return Response::new(Body::from(others.to_string()));
    }
    if request.method() != Method::POST || request.uri().path() != gateway.api.path() {
        let what = format!("{} {} is not let through", request.method(), request.uri().path());
        return problem(StatusCode::NOT_FOUND, "not_found_error", &what);
    }
    let (head, body) = request.into_parts();
    let mut body = match object(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(prices) = gateway.models.get(&model).copied() else {
        let what = format!("the model `{model}` is not granted to this step");
        return problem(StatusCode::FORBIDDEN, "permission_error", &what);
    };
    let asked = mask_value(&gateway.redact, &Value::Object(body.clone()));
    let path = gateway.api.path();
    if let Some(known) = gateway.before(path, &asked) {
        return known;
    }
    let answering = Arc::clone(&gateway.answering);
    let (number, room) = match gateway.admit(&prices) {
        Ok(admitted) => admitted,
        Err(limit) => {
            let what = format!("{BUDGET_SPENT}: {limit}");
            return problem(StatusCode::FORBIDDEN, "budget_spent", &what);
        }
    };
    limit(gateway.api, &mut body, room);
    let call = |status: u16, content_type: &str, retry_after: Option<String>| Call {
        gateway: Arc::clone(&gateway),
        number,
        model: model.clone(),
        prices,
        status,
        meter: Meter::new(gateway.api, content_type),
        exchange: gateway
            .recorder
            .is_some()
            .then(|| Exchange::new(path, asked.clone(), status, content_type, retry_after)),
        _answering: Arc::clone(&answering),
        began: Instant::now(),
        first_byte: None,
    };
    match &gateway.answers {
        Answers::Service(service) => service.answer(&head, &body.into(), gateway.idle, call).await,
        Answers::Recording(recording) => {
            let found = recording.lock().unwrap_or_else(PoisonError::into_inner).find(path, &asked);
            match found {
                Ok(exchange) => replay::answer(exchange, call),
                Err(difference) => {
                    let what = format!("request {number} is not the recorded one: {difference}");
                    gateway.output.say(Entry::ReplayMismatch { number, difference });
                    problem(StatusCode::CONFLICT, "replay_mismatch", &what)
                }
            }
        }
    }
}

/// A body that is a JSON object, or why it is not taken.
async fn object(body: Body) -> Result<Map<String, Value>, Response<Body>> {
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        let what = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", &what));
    };
    serde_json::from_slice(&body).map_err(|_| {
        let what = "the body is no JSON object";
        problem(StatusCode::BAD_REQUEST, "invalid_request_error", what)
    })
}

/// Makes the answer no longer than what is left, and has it say what it used.
fn limit(api: Api, body: &mut Map<String, Value>, room: Option<u64>) {
    if api == Api::Chat && body.get("stream") == Some(&Value::Bool(true)) {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    let Some(room) = room else { return };
    let key = match api {
        Api::Messages => "max_tokens",
        Api::Responses => "max_output_tokens",
        // Its older name is still understood by all, and the newer one not.
        Api::Chat if body.contains_key("max_tokens") => "max_tokens",
        Api::Chat => "max_completion_tokens",
    };
    let least = if api == Api::Responses { OUTPUT_TOKENS_MIN } else { 1 };
    let most = body.get(key).and_then(Value::as_u64).unwrap_or(u64::MAX);
    body.insert(key.to_owned(), Value::from(most.min(room).max(least)));
}

/// An error in the words of the service's API.
fn problem(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
