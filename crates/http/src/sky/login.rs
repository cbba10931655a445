//! The way of a browser through a login, and out again.
//!
//! `/sky/login` signs where to go and sends the browser to the form at `/sky/issuer/auth`. The form
//! comes back with the signed state, which must fit the cookie of the browser that began. A right
//! password leads to `/sky/callback` with a signed code that is good for a minute and this browser
//! only, and that sets the cookies and goes where the login was to lead.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::form;
use super::redirect::with;
use super::signed::{open, seal};
use super::token::{Verdict, issue, verify};
use crate::cookies;
use crate::query::{Query, encode};
use crate::reply::{Failure, Result, TEXT, empty, redirect, respond};
use crate::state::AppState;
use crate::token::{bearer, expiry};

/// How long a form may stay open.
const STATE_AGE_S: i64 = 3600;
/// How long the step from the form to the cookies may take.
const CODE_AGE_S: i64 = 60;
/// The client that browsers are.
const CLIENT: &str = "concourse-web";

/// Where a login leads, and which browser began it.
#[derive(Serialize, Deserialize)]
struct LoginState {
    redirect_uri: String,
    browser: String,
}

/// Who passed the form, in which browser.
#[derive(Serialize, Deserialize)]
struct Code {
    user: String,
    browser: String,
}

fn answer(result: Result<Response>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

/// `GET /login`: the old way in, which `fly` prints.
pub(crate) async fn legacy_login(RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let form = Query::parse(&query);
    let location = match form.get("fly_port") {
        "" if query.is_empty() => "/sky/login".to_owned(),
        "" => format!("/sky/login?{query}"),
        port => format!("/sky/login?redirect_uri=/fly_success%3Ffly_port={}", encode(port)),
    };
    redirect(StatusCode::FOUND, &location)
}

pub(crate) async fn legacy_logout() -> Response {
    redirect(StatusCode::MOVED_PERMANENTLY, "/sky/logout")
}

/// `GET /sky/login`: straight through with a good cookie, else to the form.
pub(crate) async fn login(
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = Query::parse(&query.unwrap_or_default());
    let target = match query.get("redirect_uri") {
        "" => "/",
        target => target,
    };
    answer(begin(&state, &headers, target).await)
}

async fn begin(state: &AppState, headers: &HeaderMap, target: &str) -> Result<Response> {
    let cookie = cookies::read(headers, cookies::AUTH);
    let now = state.now();
    if let Some(token) = cookie.and_then(bearer) {
        let known = state.store().token(token, now).await.map_err(Failure::internal)?;
        if known.is_some() && expiry(token).is_some_and(|at| at > now) {
            return enter(state, token, target);
        }
    }
    let browser = random(state)?;
    let login = LoginState { redirect_uri: target.to_owned(), browser: browser.clone() };
    let sealed = seal(&state.settings().signing_key, "state", now, &login);
    let location = format!("/sky/issuer/auth?state={}", encode(&sealed));
    let mut response = redirect(StatusCode::TEMPORARY_REDIRECT, &location);
    let secure = state.settings().cookie_secure;
    cookies::set(response.headers_mut(), cookies::STATE, &browser, None, secure);
    Ok(response)
}

fn random(state: &AppState) -> Result<String> {
    let bytes: [u8; 32] = state.random().map_err(Failure::internal)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The state of a login that this browser began, or what to answer instead.
fn opened(state: &AppState, headers: &HeaderMap, sealed: &str) -> Result<LoginState> {
    let key = &state.settings().signing_key;
    open::<LoginState>(key, "state", state.now(), STATE_AGE_S, sealed)
        .filter(|login| cookies::read(headers, cookies::STATE) == Some(&login.browser))
        .ok_or_else(|| Failure::text(StatusCode::BAD_REQUEST, "invalid state token\n"))
}

/// `GET /sky/issuer/auth`: the form.
pub(crate) async fn show_form(
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = Query::parse(&query.unwrap_or_default());
    let sealed = query.get("state");
    answer(opened(&state, &headers, sealed).map(|_| form::login(sealed, "", None, StatusCode::OK)))
}

/// `POST /sky/issuer/auth`: the form, filled in.
pub(crate) async fn take_form(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(submit(&state, &headers, &body).await)
}

async fn submit(state: &AppState, headers: &HeaderMap, body: &[u8]) -> Result<Response> {
    let form = Query::parse(&String::from_utf8_lossy(body));
    let sealed = form.get("state");
    let login = opened(state, headers, sealed)?;
    let name = form.get("login");
    let again = |problem, status| Ok(form::login(sealed, name, Some(problem), status));
    match verify(state, name, form.get("password")).await? {
        Verdict::Wrong => again("Invalid user name or password.", StatusCode::UNAUTHORIZED),
        Verdict::Wait => again(
            "Too many failed logins. Try again in a few seconds.",
            StatusCode::TOO_MANY_REQUESTS,
        ),
        Verdict::Right => {
            let code = Code { user: name.to_owned(), browser: login.browser };
            let code = seal(&state.settings().signing_key, "code", state.now(), &code);
            let location = format!("/sky/callback?code={}&state={}", encode(&code), encode(sealed));
            Ok(redirect(StatusCode::SEE_OTHER, &location))
        }
    }
}

/// `GET /sky/callback`: sets the cookies.
pub(crate) async fn callback(
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = Query::parse(&query.unwrap_or_default());
    answer(finish(&state, &headers, &query).await)
}

async fn finish(state: &AppState, headers: &HeaderMap, query: &Query) -> Result<Response> {
    let error = query.get("error");
    if !error.is_empty() {
        return Ok(respond(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")));
    }
    let login = opened(state, headers, query.get("state"))?;
    let key = &state.settings().signing_key;
    let code: Option<Code> = open(key, "code", state.now(), CODE_AGE_S, query.get("code"));
    let code = code
        .filter(|code| code.browser == login.browser)
        .ok_or_else(|| Failure::text(StatusCode::BAD_REQUEST, "invalid code\n"))?;
    let issued = issue(state, &code.user, CLIENT).await?;
    let mut response = enter(state, &issued.token, &login.redirect_uri)?;
    // The state cannot be used again from this browser.
    cookies::unset(response.headers_mut(), cookies::STATE, state.settings().cookie_secure);
    Ok(response)
}

/// Gives the browser its cookies and sends it on. Scripts learn the CSRF token from the query.
fn enter(state: &AppState, token: &str, target: &str) -> Result<Response> {
    let csrf = random(state)?;
    let location =
        with(target, "csrf_token", &csrf).ok_or(Failure::Status(StatusCode::BAD_REQUEST))?;
    let mut response = redirect(StatusCode::TEMPORARY_REDIRECT, &location);
    let expires = expiry(token);
    let secure = state.settings().cookie_secure;
    let headers = response.headers_mut();
    cookies::set(headers, cookies::AUTH, &format!("bearer {token}"), expires, secure);
    cookies::set(headers, cookies::CSRF, &csrf, expires, secure);
    Ok(response)
}

/// `GET /sky/logout`: forgets the token everywhere.
pub(crate) async fn logout(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let Some(token) = cookies::read(&headers, cookies::AUTH).and_then(bearer) else {
        return empty(StatusCode::UNAUTHORIZED);
    };
    if let Err(error) = state.store().delete_token(token).await {
        return Failure::internal(error).into_response();
    }
    let mut response = empty(StatusCode::OK);
    let secure = state.settings().cookie_secure;
    cookies::unset(response.headers_mut(), cookies::AUTH, secure);
    cookies::unset(response.headers_mut(), cookies::CSRF, secure);
    response
}
