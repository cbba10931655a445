//! The server itself: information, health, users, the wall, components, the log level.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use jb_model::{Object, Timestamp};
use jb_wire::api::{
    Component, ComponentHealth, DatabaseHealth, Health, Info, KeySet, OpenIdConfiguration, User,
    Wall, WorkerHealth,
};

use crate::call::{Call, store_failure};
use crate::engine::LogLevel;
use crate::reply::{BAD_REQUEST, Failure, NOT_FOUND, Result, TEXT, done, json, ok, respond};
use crate::settings::{VERSION, WORKER_VERSION};

/// A component that did not run for this many of its intervals is stale.
const STALE_INTERVALS: u32 = 2;

pub(super) fn info(call: &Call) -> Response {
    let settings = call.state.settings();
    let features = settings.features;
    let flags = [
        ("build_rerun", features.build_rerun),
        ("cache_streamed_volumes", features.cache_streamed_volumes),
        ("global_resources", features.global_resources),
        ("resource_causality", features.resource_causality),
    ];
    ok(&Info {
        version: VERSION.to_owned(),
        worker_version: WORKER_VERSION.to_owned(),
        feature_flags: flags.map(|(name, on)| (name.to_owned(), on)).into(),
        external_url: settings.external_url.clone(),
        cluster_name: settings.cluster_name.clone(),
    })
}

pub(super) fn creds() -> Response {
    ok(&Object::new())
}

pub(super) fn user(call: &Call) -> Response {
    ok(&call.caller.info())
}

/// People who logged in, since a day or ever.
pub(super) async fn users(call: Call) -> Result<Response> {
    let since = match call.query.get("since") {
        "" => Timestamp::default(),
        day => match jiff::civil::Date::strptime("%Y-%m-%d", day)
            .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC))
        {
            Ok(day) => Timestamp::from_unix_seconds(day.timestamp().as_second()),
            Err(_) => {
                let error = Object::from_iter([(
                    "error".to_owned(),
                    "wrong date format (yyyy-mm-dd)".into(),
                )]);
                return Ok(json(StatusCode::BAD_REQUEST, &error));
            }
        },
    };
    let users = call.store().users_since(since).await.map_err(store_failure)?;
    let present = |user: jb_store::UserRecord| User {
        id: user.id,
        username: user.username,
        connector: user.connector,
        last_login: user.last_login.unix_seconds(),
    };
    Ok(ok(&users.into_iter().map(present).collect::<Vec<_>>()))
}

pub(super) async fn wall(call: Call) -> Result<Response> {
    let now = call.state.now();
    let wall = call.store().wall(now).await.map_err(store_failure)?;
    let present = |wall: jb_store::Wall| Wall {
        message: wall.message,
        ttl: wall.expires_at.map_or(0, |at| (at.0 - now.0).saturating_mul(1000)),
    };
    Ok(ok(&wall.map(present).unwrap_or_default()))
}

pub(super) async fn set_wall(mut call: Call) -> Result<Response> {
    let wall: Wall = serde_json::from_slice(&call.bytes().await?).map_err(Failure::internal)?;
    if wall.message.is_empty() {
        let text = "Wall message cannot be empty";
        return Err(Failure::text(StatusCode::BAD_REQUEST, text));
    }
    let ttl = u64::try_from(wall.ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_nanos);
    let expires_at = ttl.map(|ttl| call.state.now().after(ttl));
    let wall = jb_store::Wall { message: wall.message, expires_at };
    call.store().set_wall(&wall).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn clear_wall(call: Call) -> Result<Response> {
    call.store().clear_wall().await.map_err(store_failure)?;
    Ok(done())
}

/// A time as Go writes it in JSON; the year one for never.
fn rfc3339(at: Option<Timestamp>) -> String {
    let Some(at) = at else { return "0001-01-01T00:00:00Z".to_owned() };
    jiff::Timestamp::from_microsecond(at.0).unwrap_or_default().to_string()
}

pub(super) async fn components(call: Call) -> Result<Response> {
    let components = call.store().components().await.map_err(store_failure)?;
    let present = |component: jb_store::ComponentRecord| Component {
        name: component.name,
        interval: i64::try_from(component.interval.as_nanos()).unwrap_or(i64::MAX),
        last_ran: rfc3339(component.last_ran),
        paused: component.paused,
    };
    Ok(ok(&components.into_iter().map(present).collect::<Vec<_>>()))
}

pub(super) async fn pause_all_components(call: Call, paused: bool) -> Result<Response> {
    call.store().set_all_components_paused(paused).await.map_err(store_failure)?;
    Ok(done())
}

pub(super) async fn pause_component(call: Call, paused: bool) -> Result<Response> {
    let name = call.param("component_name");
    let found = call.store().set_component_paused(name, paused).await.map_err(store_failure)?;
    if found { Ok(done()) } else { Err(NOT_FOUND) }
}

pub(super) async fn health(call: Call) -> Result<Response> {
    let now = call.state.now();
    let database = match call.store().ping().await {
        Ok(()) => DatabaseHealth { status: "healthy", error: String::new() },
        Err(error) => DatabaseHealth { status: "unhealthy", error: error.to_string() },
    };
    let workers = call.state.engine().workers().await.unwrap_or_default();
    let down = workers.iter().filter(|worker| worker.state != "running");
    let unhealthy_workers: Vec<String> = down.map(|worker| worker.name.clone()).collect();
    let total = i64::try_from(workers.len()).unwrap_or(i64::MAX);
    let running = total - i64::try_from(unhealthy_workers.len()).unwrap_or(0);
    let healthy = |well: bool| if well { "healthy" } else { "unhealthy" };
    let components = call.store().components().await.unwrap_or_default();
    let components: Vec<ComponentHealth> = components
        .into_iter()
        .map(|component| {
            let fresh = component
                .last_ran
                .is_none_or(|ran| ran.after(component.interval * STALE_INTERVALS) >= now);
            ComponentHealth {
                status: healthy(fresh || component.paused),
                name: component.name,
                paused: component.paused,
                last_ran: rfc3339(component.last_ran),
            }
        })
        .collect();
    let failing = database.status != "healthy" || running == 0;
    let degraded = !unhealthy_workers.is_empty()
        || components.iter().any(|component| component.status != "healthy");
    let health = Health {
        status: if failing {
            "failing"
        } else if degraded {
            "degraded"
        } else {
            "ok"
        },
        timestamp: rfc3339(Some(now)),
        database,
        workers: WorkerHealth { status: healthy(running > 0), total, running, unhealthy_workers },
        components,
    };
    let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(json(status, &health))
}

pub(super) fn log_level(call: &Call) -> Response {
    respond(StatusCode::OK, TEXT, call.state.engine().log_level().as_str())
}

pub(super) async fn set_log_level(mut call: Call) -> Result<Response> {
    let body = call.bytes().await?;
    let level = LogLevel::ALL.into_iter().find(|level| level.as_str().as_bytes() == body);
    call.state.engine().set_log_level(level.ok_or(BAD_REQUEST)?);
    Ok(done())
}

/// This server hands out no clients.
pub(super) fn cli(call: &Call) -> Result<Response> {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if !word(&call.query.get("platform").to_lowercase()) || !word(call.query.get("arch")) {
        return Err(BAD_REQUEST);
    }
    let text = "this server does not serve fly; install the fly of Concourse 8.2 yourself\n";
    Err(Failure::text(StatusCode::NOT_FOUND, text))
}

/// Where the identity tokens of `idtoken` var sources would come from.
pub(super) fn openid_configuration(call: &Call) -> Response {
    let issuer = &call.state.settings().external_url;
    ok(&OpenIdConfiguration {
        issuer: issuer.clone(),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        claims_supported: ["aud", "iat", "iss", "sub"],
        response_types_supported: ["idtoken"],
        id_token_signing_alg_values_supported: ["RS256", "ES256"],
        subject_types_supported: ["public"],
    })
}

/// This server signs no identity tokens yet, so it has no keys: a verifier that asks trusts nothing.
pub(super) fn signing_keys() -> Response {
    ok(&KeySet { keys: [] })
}
