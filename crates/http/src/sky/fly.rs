//! The page that hands a browser's login to `fly`, which listens on the same machine.

use axum::extract::RawQuery;
use axum::http::header::{HeaderValue, REFERRER_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::form::HTML;
use crate::cookies;
use crate::html::{escape, page};
use crate::query::{Query, encode};
use crate::reply::{redirect, respond};

/// Sends the token in the background and says how that went.
const SCRIPT: &str = "const link=document.getElementById('send');\
const note=document.getElementById('status');\
fetch(link.href,{mode:'cors'}).then(()=>{note.textContent=\
'fly is logged in. You can close this page.';link.hidden=true;})\
.catch(()=>{note.textContent=\
'The login could not be sent to fly. Use the link, or copy the token into the terminal.';});";

/// `GET /fly_success`.
pub(crate) async fn success(headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(&query.unwrap_or_default());
    if query.get("noop") == "true" {
        let main = "<p role=\"status\">fly is logged in. You can close this page.</p>";
        return respond(StatusCode::OK, HTML, page("Login successful", main));
    }
    let Some(token) = cookies::read(&headers, cookies::AUTH) else {
        let target = format!("/fly_success?fly_port={}", encode(query.get("fly_port")));
        let location = format!("/sky/login?redirect_uri={}", encode(&target));
        return redirect(StatusCode::FOUND, &location);
    };
    let shown = escape(token);
    let copy = format!(
        "<p><label for=\"token\">Or copy this token and paste it into the terminal:</label></p>\n\
         <textarea id=\"token\" rows=\"2\" readonly>{shown}</textarea>"
    );
    // Only this machine, only a port: the token goes nowhere else.
    let main = match query.get("fly_port").parse::<u16>() {
        Ok(port) if port > 0 => format!(
            "<p id=\"status\" role=\"status\">Sending the login to fly.</p>\n\
             <p><a id=\"send\" href=\"http://127.0.0.1:{port}/?token={}\">\
             Send the login to fly</a></p>\n{copy}\n<script>{SCRIPT}</script>",
            encode(token)
        ),
        _ => copy,
    };
    let mut response = respond(StatusCode::OK, HTML, page("Login successful", &main));
    let headers = response.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
