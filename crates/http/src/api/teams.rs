//! Teams: `/teams`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use jb_authz::Role;
use jb_model::{Object, Value};
use jb_wire::api::{NewName, SaveConfigResponse, SetTeamRequest, TeamAuth, TeamResponse};

use super::{pages, present};
use crate::call::{Call, store_failure};
use crate::identifier;
use crate::reply::{BAD_REQUEST, Failure, Result, empty, json, ok};

pub(super) async fn list(call: Call) -> Result<Response> {
    let mut teams = call.store().teams().await.map_err(store_failure)?;
    teams.sort_by(|a, b| a.name.cmp(&b.name));
    let seen: Vec<_> =
        teams.iter().filter(|team| call.may(&team.name)).map(present::team).collect();
    Ok(ok(&seen))
}

pub(super) async fn get(call: Call) -> Result<Response> {
    Ok(ok(&present::team(&call.team().await?)))
}

/// Creates a team, for administrators, or changes who has which role on it.
pub(super) async fn set(mut call: Call) -> Result<Response> {
    let request: SetTeamRequest = call.json().await?;
    let auth = validated(request.auth).ok_or(BAD_REQUEST)?;
    let name = call.param("team_name").to_owned();
    let known = call.store().team_by_name(&name).await.map_err(store_failure)?;
    let mut response = TeamResponse::default();
    if known.is_none() {
        if !call.caller.actor.admin {
            return Err(Failure::Status(StatusCode::FORBIDDEN));
        }
        match identifier::check(&name, "team") {
            Ok(warning) => response.warnings.extend(warning),
            Err(error) => return Err(Failure::Errors(vec![error])),
        }
    }
    let saved = call.store().save_team(&name, &auth, call.state.now()).await;
    let (team, created) = saved.map_err(store_failure)?;
    response.team = present::team(&team);
    Ok(json(if created { StatusCode::CREATED } else { StatusCode::OK }, &response))
}

/// The roles as they are stored, or `None` when one of them is unknown or would be everyone's.
fn validated(auth: TeamAuth) -> Option<Value> {
    if auth.is_empty() {
        return None;
    }
    let mut stored = Object::new();
    for (role, lists) in auth {
        role.parse::<Role>().ok()?;
        let list = |kind: &str| lists.get(kind).cloned().unwrap_or_default();
        let (users, groups) = (list("users"), list("groups"));
        if users.is_empty() && groups.is_empty() {
            return None;
        }
        let lists: BTreeMap<_, _> = [("users", users), ("groups", groups)].into();
        stored.insert(role, serde_json::to_value(lists).ok()?);
    }
    Some(Value::Object(stored))
}

pub(super) async fn rename(mut call: Call) -> Result<Response> {
    let team = call.team().await?;
    let NewName { name } = call.json().await?;
    let warnings = match identifier::check(&name, "team") {
        Ok(warning) => warning.into_iter().collect(),
        Err(error) => return Err(Failure::Errors(vec![error])),
    };
    call.store().rename_team(team.id, &name).await.map_err(Failure::internal)?;
    Ok(ok(&SaveConfigResponse { warnings, ..SaveConfigResponse::default() }))
}

/// Removes a team with all it has; the last administrators' team stays.
pub(super) async fn destroy(call: Call) -> Result<Response> {
    let team = call.team().await?;
    if team.admin {
        let teams = call.store().teams().await.map_err(store_failure)?;
        if teams.iter().filter(|team| team.admin).count() == 1 {
            return Err(Failure::Status(StatusCode::FORBIDDEN));
        }
    }
    call.store().destroy_team(team.id).await.map_err(store_failure)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn builds(call: Call) -> Result<Response> {
    let team = call.team().await?;
    let (page, times) = pages::wanted(&call);
    let found = if times {
        call.store().team_builds_between(team.id, page).await
    } else {
        call.store().team_builds(team.id, page).await
    };
    let path = format!("/api/v1/teams/{}/builds", team.name);
    Ok(pages::builds(&call, &found.map_err(store_failure)?, &path, &Object::new(), false))
}
