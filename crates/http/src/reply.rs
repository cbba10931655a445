//! Answers, good and bad, in the forms that clients know.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jb_wire::api::{ConfigErrors, DetailedError, Problem, SaveConfigResponse, to_body};
use serde::Serialize;

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Why a request gets no ordinary answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A status and nothing else.
    Status(StatusCode),
    /// A status and a line of text, as is.
    Text(StatusCode, String),
    /// 400 with a list of errors as JSON.
    Errors(Vec<String>),
    /// A status with an error object per JSON:API.
    Detailed(StatusCode, String, String),
    /// A status, a short name for the kind of problem, and what it is here: RFC 9457.
    Problem(StatusCode, &'static str, String),
    /// Something inside broke: logged here, 500 and nothing else for the client.
    Internal(String),
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

pub(crate) const NOT_FOUND: Failure = Failure::Status(StatusCode::NOT_FOUND);
pub(crate) const BAD_REQUEST: Failure = Failure::Status(StatusCode::BAD_REQUEST);

impl Failure {
    pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Text(status, text.into())
    }

    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Status(status) => empty(status),
            Self::Text(status, text) => respond(status, TEXT, text),
            Self::Errors(errors) => {
                json(StatusCode::BAD_REQUEST, &SaveConfigResponse { errors, ..Default::default() })
            }
            Self::Detailed(status, title, detail) => {
                let status_text = status.as_str().to_owned();
                let error = DetailedError { title, detail, status: status_text };
                json(status, &ConfigErrors { errors: vec![error] })
            }
            Self::Problem(status, title, detail) => {
                let title = title.to_owned();
                let problem = Problem { title, status: status.as_u16(), detail };
                json_as(status, "application/problem+json", &problem)
            }
            Self::Internal(error) => {
                tracing::error!(%error, "request failed");
                empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 200 without a body.
pub(crate) fn done() -> Response {
    empty(StatusCode::OK)
}

pub(crate) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// 200 with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    json_as(status, JSON, value)
}

/// JSON under another name: three routes have always called it text.
pub(crate) fn json_as(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response {
    match to_body(value) {
        Ok(body) => respond(status, kind, body),
        Err(error) => Failure::internal(error).into_response(),
    }
}

pub(crate) fn redirect(status: StatusCode, location: &str) -> Response {
    let mut response = empty(status);
    put(response.headers_mut(), LOCATION, location);
    response
}

/// Sets a header unless its value cannot be one.
pub(crate) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
