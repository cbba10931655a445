//! Who is calling: from a token to roles on teams.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use jb_authz::{Actor, Identity, Role, RoleAuth, TeamAuth, Token, roles_of};
use jb_model::Value;
use jb_store::TeamRecord;
use jb_wire::api::UserInfo;
use serde::{Deserialize, Serialize};

use crate::reply::{Failure, Result};
use crate::state::AppState;
use crate::{cookies, token};

/// What is remembered with a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    /// The client that the token was given to.
    pub(crate) aud: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) preferred_username: String,
    #[serde(default)]
    pub(crate) email: String,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    pub(crate) connector: String,
    pub(crate) user_id: String,
}

/// The client whose tokens are the system's own.
pub(crate) const SYSTEM_CLIENT: &str = "concourse-worker";

impl Claims {
    fn identity(&self) -> Identity {
        let name = [&self.preferred_username, &self.name].into_iter().find(|name| !name.is_empty());
        Identity {
            connector: self.connector.clone(),
            user_id: self.user_id.clone(),
            user_name: name.cloned().unwrap_or_default(),
            groups: self.groups.clone(),
        }
    }

    /// How a person is named to others.
    fn display(&self) -> &str {
        [&self.preferred_username, &self.user_id, &self.name]
            .into_iter()
            .find(|name| !name.is_empty())
            .map_or("", String::as_str)
    }
}

/// The caller of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    claims: Claims,
}

impl Caller {
    /// Who to record as the one who did something.
    pub(crate) fn name(&self) -> &str {
        self.claims.display()
    }

    /// Tells this person apart from all others.
    pub(crate) fn person(&self) -> String {
        format!("{}:{}", self.claims.connector, self.claims.user_id)
    }

    /// What the login told.
    pub(crate) fn identity(&self) -> Identity {
        self.claims.identity()
    }

    pub(crate) fn info(&self) -> UserInfo {
        let roles = |roles: &Vec<Role>| roles.iter().rev().map(|role| role.to_string()).collect();
        let claims = self.claims.clone();
        UserInfo {
            display_user_id: claims.display().to_owned(),
            sub: claims.sub,
            name: claims.name,
            user_id: claims.user_id,
            user_name: claims.preferred_username,
            email: claims.email,
            is_admin: self.actor.admin,
            is_system: self.actor.system,
            teams: self.actor.teams.iter().map(|(team, r)| (team.clone(), roles(r))).collect(),
            connector: claims.connector,
        }
    }
}

/// The token of a request: its header, or else its cookie. The flag tells that a cookie came along.
pub(crate) fn presented(headers: &HeaderMap) -> (Option<String>, bool) {
    let cookie = cookies::read(headers, cookies::AUTH);
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credentials = header.filter(|header| !header.is_empty()).or(cookie);
    (credentials.map(str::to_owned), cookie.is_some())
}

/// Finds out who sent a request.
pub(crate) async fn caller(state: &AppState, credentials: Option<&str>) -> Result<Caller> {
    let Some(credentials) = credentials else { return Ok(Caller::default()) };
    let invalid = || Caller {
        actor: Actor { token: Token::Invalid, ..Actor::default() },
        ..Caller::default()
    };
    let Some(token) = token::bearer(credentials) else { return Ok(invalid()) };
    let found = state.store().token(token, state.now()).await.map_err(Failure::internal)?;
    let Some(found) = found else { return Ok(invalid()) };
    let claims: Claims = serde_json::from_value(found.claims).map_err(Failure::internal)?;
    let teams = state.store().teams().await.map_err(Failure::internal)?;
    Ok(Caller { actor: actor(&claims, &teams), claims })
}

fn actor(claims: &Claims, teams: &[TeamRecord]) -> Actor {
    let identity = claims.identity();
    let mut actor =
        Actor { token: Token::Valid, system: claims.aud == SYSTEM_CLIENT, ..Actor::default() };
    for team in teams {
        let roles = roles_of(&identity, &auth_of(&team.auth));
        actor.admin |= team.admin && roles.contains(&Role::Owner);
        if !roles.is_empty() {
            actor.teams.insert(team.name.clone(), roles);
        }
    }
    actor
}

/// A stored `{role: {users, groups}}`.
pub(crate) fn auth_of(stored: &Value) -> TeamAuth {
    let names = |lists: &Value, kind: &str| -> Vec<String> {
        let list = lists.get(kind).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let roles = stored.as_object().into_iter().flatten();
    let auth: BTreeMap<_, _> = roles
        .map(|(role, lists)| {
            let users = names(lists, "users");
            (role.clone(), RoleAuth { users, groups: names(lists, "groups") })
        })
        .collect();
    auth
}
