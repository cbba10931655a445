//! Lists of builds, page by page.

use axum::response::Response;
use jb_model::Object;
use jb_store::{BuildRecord, Page as StorePage, Paged, Visible};

use super::present;
use crate::call::Call;
use crate::instance_vars;
use crate::page::{Neighbours, Page, link};
use crate::reply::{Failure, Result, ok};

/// What the caller may see of lists over all teams.
pub(crate) async fn visible(call: &Call) -> Result<Visible> {
    if call.caller.actor.admin {
        return Ok(Visible::All);
    }
    if call.caller.actor.teams.is_empty() {
        return Ok(Visible::TeamsAndPublic(Vec::new()));
    }
    let teams = call.store().teams().await.map_err(Failure::internal)?;
    let seen = teams.iter().filter(|team| call.may(&team.name)).map(|team| team.id);
    Ok(Visible::TeamsAndPublic(seen.collect()))
}

/// The page that a request asks for.
pub(crate) fn wanted(call: &Call) -> (StorePage, bool) {
    let page = Page::parse(&call.query);
    (StorePage { from: page.from, to: page.to, limit: page.limit }, page.times)
}

/// One page of builds with its links. `path` begins at the root of the server.
pub(crate) fn builds(
    call: &Call,
    page: &Paged<BuildRecord>,
    path: &str,
    vars: &Object,
    comments: bool,
) -> Response {
    let list: Vec<_> = page.items.iter().map(|build| present::build(build, comments)).collect();
    let mut response = ok(&list);
    let url = format!("{}{path}", call.state.settings().external_url);
    let neighbours = Neighbours { older: page.older, newer: page.newer };
    let limit = Page::parse(&call.query).limit;
    let vars = instance_vars::render(vars);
    link(response.headers_mut(), &url, neighbours, limit, &vars);
    response
}
