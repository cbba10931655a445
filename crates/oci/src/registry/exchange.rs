//! A request with its login and its retries, and the reading of answers.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::error::Error;
use crate::registry::{Registry, basic};
use crate::retry::{jitter, retry_after};

/// Error bodies are read this far.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// Tokens and their wrapping are read this far.
const MAX_TOKEN_BODY: u64 = 1 << 20;

/// What a request may do with a repository.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Access {
    fn scope(self, repository: &str) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        };
        format!("repository:{repository}:{actions}")
    }
}

/// One request that can be sent again.
pub(super) struct Request<'a> {
    /// What it is for: "read tags of x", for messages.
    pub(super) attempted: String,
    pub(super) repository: &'a str,
    pub(super) access: Access,
    pub(super) method: Method,
    pub(super) url: Url,
    /// Adds headers and body; called for every attempt.
    pub(super) build: &'a (dyn Fn(RequestBuilder) -> Result<RequestBuilder, Error> + Sync),
}

pub(super) fn unchanged(request: RequestBuilder) -> Result<RequestBuilder, Error> {
    Ok(request)
}

impl Registry {
    /// Sends until the registry gives an answer that is final. A missing thing is `NotFound`; any other answer
    /// that is not a success is an error too.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Response, Error> {
        let response = self.send_any(&request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(&request.attempted, response).await)
    }

    /// Sends until the answer is final, whatever it is.
    pub(super) async fn send_any(&self, request: &Request<'_>) -> Result<Response, Error> {
        let scope = request.access.scope(request.repository);
        let same_host = request.url.origin() == self.shared.base.origin();
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            // Uploads may be sent to another host; our login is none of its business.
            let login = if same_host { self.authorization(&scope, renewed).await? } else { None };
            let mut builder = self.shared.http.request(request.method.clone(), request.url.clone());
            if let Some(login) = login {
                builder = builder.header(AUTHORIZATION, login);
            }
            let outcome = (request.build)(builder)?.send().await;
            if let Ok(response) = &outcome
                && response.status() == StatusCode::UNAUTHORIZED
                && !renewed
                && same_host
            {
                // A token may have expired since it was given.
                renewed = true;
                continue;
            }
            match self.judge(&request.attempted, attempt, outcome).await? {
                Some(response) => return Ok(response),
                None => attempt += 1,
            }
        }
    }

    /// The answer, or None after waiting because the request is to be sent again.
    async fn judge(
        &self,
        attempted: &str,
        attempt: u32,
        outcome: Result<Response, reqwest::Error>,
    ) -> Result<Option<Response>, Error> {
        let (reason, asked) = match &outcome {
            Ok(response) if is_transient(response.status()) => (
                format!("the registry answered {}", response.status()),
                asked_wait(response.headers()),
            ),
            Ok(_) => return outcome.map(Some).map_err(|error| transport(attempted, error)),
            Err(error) if error.is_builder() || error.is_redirect() => {
                return outcome.map(Some).map_err(|error| transport(attempted, error));
            }
            Err(error) => (transport("connect", error_text(error)).to_string(), None),
        };
        if !self.wait(attempted, attempt, &reason, asked).await {
            return outcome.map(Some).map_err(|error| transport(attempted, error));
        }
        Ok(None)
    }

    /// Waits before another attempt; false when there is to be none.
    pub(super) async fn wait(
        &self,
        attempted: &str,
        attempt: u32,
        reason: &str,
        asked: Option<Duration>,
    ) -> bool {
        let Some(delay) = self.shared.options.retry.delay(attempt, asked, jitter()) else {
            return false;
        };
        tracing::debug!(attempted, attempt, reason, ?delay, "trying again");
        if let Some(tell) = &self.shared.options.on_retry {
            tell(&format!(
                "could not {attempted} ({reason}), trying again in {:.1} s",
                delay.as_secs_f64()
            ));
        }
        tokio::time::sleep(delay).await;
        true
    }

    /// Asks the registry itself, without a repository; its answer tells how it wants a login.
    pub(super) async fn ping(&self) -> Result<Response, Error> {
        let attempted = format!("reach the registry {}", self.shared.name);
        let mut attempt = 1;
        loop {
            let outcome = self.shared.http.get(self.shared.base.clone()).send().await;
            match self.judge(&attempted, attempt, outcome).await? {
                Some(response) if response.status().is_success() => return Ok(response),
                Some(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    return Ok(response);
                }
                // Some registries do not serve this page; what is asked of them later tells more.
                Some(response) if response.status().is_client_error() => return Ok(response),
                Some(response) => return Err(refusal(&attempted, response).await),
                None => attempt += 1,
            }
        }
    }

    /// Gets a token for `scope` from the token server.
    pub(super) async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let attempted = format!("log in to {}", self.shared.name);
        let invalid = |reason: String| Error::Invalid { attempted: attempted.clone(), reason };
        let mut url =
            Url::parse(realm).map_err(|error| invalid(format!("its token address: {error}")))?;
        if self.shared.base.scheme() == "https" && url.scheme() != "https" {
            return Err(invalid(format!("it sends the login over plain http, to {url}")));
        }
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", scope);
        let mut attempt = 1;
        let response = loop {
            let mut request = self.shared.http.get(url.clone());
            if let Some(login) = &self.shared.options.credentials {
                request = request.header(AUTHORIZATION, basic(login));
            }
            match self.judge(&attempted, attempt, request.send().await).await? {
                Some(response) => break response,
                None => attempt += 1,
            }
        };
        if !response.status().is_success() {
            return Err(refusal(&attempted, response).await);
        }
        let body = read_body(&attempted, response, MAX_TOKEN_BODY).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
        answer
            .token
            .or(answer.access_token)
            .ok_or_else(|| invalid("its token server gave no token".to_owned()))
    }
}

/// The whole body, which must not be larger than `limit`.
pub(super) async fn read_body(
    attempted: &str,
    mut response: Response,
    limit: u64,
) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(attempted, error))? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(Error::TooLarge { attempted: attempted.to_owned(), limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn transport(attempted: &str, error: impl Into<crate::error::Cause>) -> Error {
    Error::Transport { attempted: attempted.to_owned(), cause: error.into() }
}

fn error_text(error: &reqwest::Error) -> crate::error::Cause {
    crate::error::Cause::of(error)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, jiff::Timestamp::now())
}

/// Turns an answer that is not a success into an error, with what the registry says about it.
pub(super) async fn refusal(attempted: &str, response: Response) -> Error {
    let status = response.status();
    let body = read_body(attempted, response, MAX_ERROR_BODY).await.unwrap_or_default();
    let attempted = attempted.to_owned();
    match status {
        StatusCode::NOT_FOUND => Error::NotFound { attempted },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::Denied { attempted, detail: detail(&body).unwrap_or_else(|| status.to_string()) }
        }
        status => {
            let reason = status.canonical_reason().unwrap_or("no reason");
            let detail = detail(&body).unwrap_or_else(|| reason.to_owned());
            Error::Refused { attempted, status: status.as_u16(), detail }
        }
    }
}

/// The registry's own words: `{"errors": [{"code": …, "message": …}]}`.
fn detail(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let said: Vec<String> =
        body.errors.iter().map(|item| format!("{} {}", item.code, item.message)).collect();
    Some(said.join("; ").trim().chars().take(500).collect())
        .filter(|said: &String| !said.is_empty())
}
