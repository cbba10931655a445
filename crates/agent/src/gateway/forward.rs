//! Requests on their way to the service, and answers on their way back.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode, header, request};
use futures_util::{StreamExt as _, stream};
use jb_agent_protocol::Api;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Call, problem};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces of an answer that wait for an agent that does not read.
const PIECES_MAX: usize = 16;
/// Headers of the agent's that the service sees. Everything else stays here.
const PASSED_ON: [&str; 2] = ["anthropic-version", "anthropic-beta"];
const VERSION: &str = "2023-06-01";

pub(super) struct Service {
    api: Api,
    client: reqwest::Client,
    url: String,
    key: header::HeaderValue,
}

impl Service {
    pub(super) fn new(api: Api, url: &str, key: String, idle: Duration) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(idle))
            // The key goes to the service that was named, and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("set up the way to {url}: {error}"))?;
        let key = if api == Api::Messages { key } else { format!("Bearer {key}") };
        let mut key = header::HeaderValue::try_from(key).map_err(|_| {
            "the key for the model has characters that no header can have".to_owned()
        })?;
        key.set_sensitive(true);
        let url = format!("{}{}", url.trim_end_matches('/'), api.path());
        Ok(Self { api, client, url, key })
    }

    pub(super) async fn answer(
        &self,
        head: &request::Parts,
        body: &Value,
        idle: Duration,
        call: impl Fn(u16, &str, Option<String>) -> Call,
    ) -> Response<Body> {
        let request = self.client.post(&self.url).headers(self.headers(&head.headers)).json(body);
        let answer = match tokio::time::timeout(idle, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let what = format!("the model service cannot be reached: {}", chain(&error));
                call(0, "", None).end(Some(what.clone()));
                return problem(StatusCode::BAD_GATEWAY, "api_error", &what);
            }
            Err(_) => {
                let what = format!("the model service said nothing for {} s", idle.as_secs_f32());
                call(0, "", None).end(Some(what.clone()));
                return problem(StatusCode::GATEWAY_TIMEOUT, "timeout_error", &what);
            }
        };
        let text = |name: header::HeaderName| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let status = answer.status();
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
        let retry_after = text(header::RETRY_AFTER);
        let call = call(status.as_u16(), &content_type, retry_after.clone());
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        tokio::spawn(pass_on(answer, pieces, call, idle));
        respond(status.as_u16(), &content_type, retry_after.as_deref(), taken)
    }

    fn headers(&self, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.api != Api::Messages {
            headers.insert(header::AUTHORIZATION, self.key.clone());
            return headers;
        }
        headers.insert("anthropic-version", header::HeaderValue::from_static(VERSION));
        for name in PASSED_ON {
            if let Some(value) = asked.get(name) {
                headers.insert(name, value.clone());
            }
        }
        headers.insert("x-api-key", self.key.clone());
        headers
    }
}

pub(super) type Piece = Result<Bytes, std::io::Error>;

/// Copies the answer to the agent until it ends, hangs, or the agent goes away.
async fn pass_on(
    answer: reqwest::Response,
    pieces: mpsc::Sender<Piece>,
    mut call: Call,
    idle: Duration,
) {
    let mut body = answer.bytes_stream();
    loop {
        let broken = match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(Ok(piece))) => {
                call.piece(&piece);
                if pieces.send(Ok(piece)).await.is_ok() {
                    continue;
                }
                "the agent stopped reading".to_owned()
            }
            Ok(Some(Err(error))) => format!("the answer broke off: {}", chain(&error)),
            Ok(None) => return call.end(None),
            Err(_) => format!("the model service said nothing for {} s", idle.as_secs_f32()),
        };
        let _ = pieces.send(Err(std::io::Error::other(broken.clone()))).await;
        return call.end(Some(broken));
    }
}

/// An answer whose body comes from a channel.
pub(super) fn respond(
    status: u16,
    content_type: &str,
    retry_after: Option<&str>,
    pieces: mpsc::Receiver<Piece>,
) -> Response<Body> {
    let pieces = stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    let mut put = |name, text: &str| {
        if let Ok(value) = header::HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    if !content_type.is_empty() {
        put(header::CONTENT_TYPE, content_type);
    }
    if let Some(retry_after) = retry_after {
        put(header::RETRY_AFTER, retry_after);
    }
    response
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
