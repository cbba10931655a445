//! The page at `/` and the answers to those who watch the server.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jb_model::TeamId;
use jb_store::{PipelineRecord, Visible};

use crate::html::{escape, page};
use crate::identity;
use crate::instance_vars;
use crate::reply::{Failure, Result, TEXT, respond};
use crate::sky::form::HTML;
use crate::state::AppState;

/// `GET /`: the pipelines that the reader may see.
pub(crate) async fn landing(State(state): State<AppState>, headers: HeaderMap) -> Response {
    render(&state, &headers).await.unwrap_or_else(IntoResponse::into_response)
}

async fn render(state: &AppState, headers: &HeaderMap) -> Result<Response> {
    let (credentials, _) = identity::presented(headers);
    let caller = identity::caller(state, credentials.as_deref()).await?;
    let visible = if caller.actor.admin {
        Visible::All
    } else {
        let teams = state.store().teams().await.map_err(Failure::internal)?;
        let mine = teams.iter().filter(|team| caller.actor.teams.contains_key(&team.name));
        Visible::TeamsAndPublic(mine.map(|team| team.id).collect::<Vec<TeamId>>())
    };
    let pipelines = state.store().pipelines(&visible).await.map_err(Failure::internal)?;
    let rows: String = pipelines.iter().filter(|pipeline| !pipeline.archived).map(row).collect();
    let who = if caller.actor.authenticated() {
        format!(
            "<p>Logged in as {}. <a href=\"/sky/logout\">Log out</a></p>",
            escape(caller.name())
        )
    } else {
        "<p><a href=\"/sky/login\">Log in</a></p>".to_owned()
    };
    let list = if rows.is_empty() {
        "<p>No pipelines to show. Set one with <code>fly set-pipeline</code>.</p>".to_owned()
    } else {
        format!(
            "<table>\n<caption>Pipelines</caption>\n<thead><tr><th scope=\"col\">Team</th>\
             <th scope=\"col\">Pipeline</th><th scope=\"col\">State</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table>"
        )
    };
    Ok(respond(StatusCode::OK, HTML, page("JetBridge", &format!("{who}\n{list}"))))
}

fn row(pipeline: &PipelineRecord) -> String {
    let state = if pipeline.paused { "paused" } else { "running" };
    let state = if pipeline.public { format!("{state}, public") } else { state.to_owned() };
    let vars = Some(&pipeline.instance_vars).filter(|vars| !vars.is_empty());
    let name = jb_pipeline::instance_vars::pipeline_text(&pipeline.name, vars);
    let query = instance_vars::render(&pipeline.instance_vars);
    let query = if query.is_empty() { query } else { format!("?{query}") };
    let encode = crate::query::encode;
    let jobs = format!(
        "/api/v1/teams/{}/pipelines/{}/jobs{query}",
        encode(&pipeline.team_name),
        encode(&pipeline.name)
    );
    format!(
        "<tr><td>{}</td><td><a href=\"{}\">{}</a></td><td>{state}</td></tr>\n",
        escape(&pipeline.team_name),
        escape(&jobs),
        escape(&name),
    )
}

/// `GET /healthz`: the process answers.
pub(crate) async fn alive() -> Response {
    respond(StatusCode::OK, TEXT, "ok\n")
}

/// `GET /readyz`: the store answers too.
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    match state.store().ping().await {
        Ok(()) => respond(StatusCode::OK, TEXT, "ok\n"),
        Err(error) => {
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {error}\n"))
        }
    }
}
