//! The login page.

use axum::http::StatusCode;
use axum::response::Response;

use crate::html::{escape, page};
use crate::reply::respond;

pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// The form for name and password. `state` comes back with it; `problem` tells what went wrong before.
pub(crate) fn login(
    state: &str,
    name: &str,
    problem: Option<&str>,
    status: StatusCode,
) -> Response {
    let problem = problem
        .map(|problem| format!("<p id=\"problem\" role=\"alert\">{}</p>\n", escape(problem)))
        .unwrap_or_default();
    let described = if problem.is_empty() { "" } else { " aria-describedby=\"problem\"" };
    // Whoever mistyped the password need not go back to the name.
    let (name_focus, password_focus) =
        if name.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let main = format!(
        "{problem}<form method=\"post\" action=\"/sky/issuer/auth\">\n\
         <input type=\"hidden\" name=\"state\" value=\"{state}\">\n\
         <label for=\"login\">User name</label>\n\
         <input id=\"login\" name=\"login\" value=\"{name}\" autocomplete=\"username\" \
         autocapitalize=\"none\" spellcheck=\"false\" required{name_focus}{described}>\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" \
         autocomplete=\"current-password\" required{password_focus}{described}>\n\
         <button type=\"submit\">Log in</button>\n</form>",
        state = escape(state),
        name = escape(name),
    );
    respond(status, HTML, page("Log in to JetBridge", &main))
}
