//! Checking passwords and handing out tokens.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jb_model::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::attempts::RETRY_AFTER_S;
use crate::identity::Claims;
use crate::query::Query;
use crate::reply::{Failure, Result, respond};
use crate::settings::Password;
use crate::state::AppState;
use crate::token;

/// The one connector that this server itself is.
const CONNECTOR: &str = "local";
/// The client that `fly` is, with a secret that everyone knows.
const FLY: (&str, &str) = ("fly", "Zmx5");
/// The longest name or password that is looked at.
const MAX_LENGTH: usize = 1024;
/// Compared with when there is no such user, so that the answer takes as long.
const NOBODY: &str = "$2b$10$HwrZpXvzGdHeOzc1oArpyuTeryzSzCIjunUUSMXbAxrytp1DCHvHu";

/// A token and when it ends.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) expires_at: Timestamp,
}

/// How a password fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// Too many wrong ones; try again later.
    Wait,
}

#[derive(Serialize)]
struct Granted {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
}

#[derive(Serialize)]
struct Refused {
    error: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_description: &'static str,
}

/// `POST /sky/issuer/token`: OAuth 2's password grant.
pub(crate) async fn grant(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match try_grant(&state, &headers, &body).await {
        Ok(response) => response,
        Err(failure) => axum::response::IntoResponse::into_response(failure),
    }
}

async fn try_grant(state: &AppState, headers: &HeaderMap, body: &[u8]) -> Result<Response> {
    let form = Query::parse(&String::from_utf8_lossy(body));
    if !client_is_fly(headers, &form) {
        let text = "Invalid client credentials.";
        return Ok(refuse(StatusCode::UNAUTHORIZED, "invalid_client", text));
    }
    if form.get("grant_type") != "password" {
        return Ok(refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", ""));
    }
    if !form.get("scope").split(' ').any(|scope| scope == "openid") {
        let text = "Missing required scope(s) [\"openid\"].";
        return Ok(refuse(StatusCode::BAD_REQUEST, "invalid_request", text));
    }
    let name = form.get("username");
    match verify(state, name, form.get("password")).await? {
        Verdict::Wrong => {
            let text = "Invalid username or password";
            Ok(refuse(StatusCode::UNAUTHORIZED, "access_denied", text))
        }
        Verdict::Wait => {
            let text = "Too many failed logins; try again in a few seconds";
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "access_denied", text);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            Ok(response)
        }
        Verdict::Right => {
            let issued = issue(state, name, FLY.0).await?;
            let now = state.now().unix_seconds();
            let mut response = bare(
                StatusCode::OK,
                &Granted {
                    access_token: issued.token,
                    token_type: "bearer",
                    expires_in: issued.expires_at.unix_seconds() - now,
                },
            );
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
    }
}

fn refuse(status: StatusCode, error: &'static str, description: &'static str) -> Response {
    bare(status, &Refused { error, error_description: description })
}

/// JSON without a line's end, as OAuth servers send it.
fn bare(status: StatusCode, value: &impl Serialize) -> Response {
    match jb_wire::api::to_text(value) {
        Ok(text) => respond(status, "application/json", text),
        Err(error) => axum::response::IntoResponse::into_response(Failure::internal(error)),
    }
}

/// The client may say who it is in a header or in the form.
fn client_is_fly(headers: &HeaderMap, form: &Query) -> bool {
    let basic = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = basic.and_then(|value| value.strip_prefix("Basic "));
    match basic {
        Some(encoded) => STANDARD
            .decode(encoded)
            .is_ok_and(|pair| pair == format!("{}:{}", FLY.0, FLY.1).as_bytes()),
        None => (form.get("client_id"), form.get("client_secret")) == FLY,
    }
}

/// Whether a local user has this password. Wrong ones are counted.
pub(crate) async fn verify(state: &AppState, name: &str, password: &str) -> Result<Verdict> {
    if name.len() > MAX_LENGTH || password.len() > MAX_LENGTH {
        return Ok(Verdict::Wrong);
    }
    let now = state.now();
    if !state.attempts(|attempts| attempts.allowed(name, now)) {
        return Ok(Verdict::Wait);
    }
    let known = state.settings().local_users.iter().find(|user| user.name == name);
    let expected = known.map_or_else(|| nobodys(state), |user| user.password.clone());
    let given = password.to_owned();
    let right = {
        let permit = state.password_checks().acquire().await;
        let _permit = permit.map_err(Failure::internal)?;
        let check = tokio::task::spawn_blocking(move || fits(&expected, &given));
        check.await.map_err(Failure::internal)? && known.is_some()
    };
    state.attempts(
        |attempts| {
            if right { attempts.succeeded(name) } else { attempts.failed(name, now) }
        },
    );
    if !right {
        tracing::warn!(user = name, "a login failed");
    }
    Ok(if right { Verdict::Right } else { Verdict::Wrong })
}

/// What an unknown user's password is compared with: something that takes as long as a known one's.
fn nobodys(state: &AppState) -> Password {
    let mut known = state.settings().local_users.iter();
    if known.any(|user| matches!(user.password, Password::Hashed(_))) {
        Password::Hashed(NOBODY.to_owned())
    } else {
        Password::Plain(String::new())
    }
}

fn fits(expected: &Password, given: &str) -> bool {
    match expected {
        // Digests have one length and tell nothing by where they differ.
        Password::Plain(plain) => Sha256::digest(plain) == Sha256::digest(given),
        Password::Hashed(hash) => bcrypt::verify(given, hash).unwrap_or(false),
    }
}

/// Makes a token for a local user and remembers the login.
pub(crate) async fn issue(state: &AppState, name: &str, client: &str) -> Result<Issued> {
    let now = state.now();
    let expires_at = now.after(state.settings().auth_duration);
    let token = token::render(state.random().map_err(Failure::internal)?, expires_at);
    let claims = Claims {
        sub: token::subject(name, CONNECTOR),
        aud: client.to_owned(),
        name: name.to_owned(),
        email: name.to_owned(),
        connector: CONNECTOR.to_owned(),
        user_id: name.to_owned(),
        ..Claims::default()
    };
    let stored = serde_json::to_value(&claims).map_err(Failure::internal)?;
    let store = state.store();
    store.save_token(&token, &stored, expires_at).await.map_err(Failure::internal)?;
    store.save_user(&claims.sub, name, CONNECTOR, now).await.map_err(Failure::internal)?;
    Ok(Issued { token, expires_at })
}
