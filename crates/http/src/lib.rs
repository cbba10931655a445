//! The HTTP edge: Concourse's API, login and event streams.
//!
//! Handlers hold no logic beyond this: find out who calls (`identity`), let `jb-authz` decide, read or
//! write the store or ask the engine ([`Engine`]), and present the result in the API's shapes
//! (`api::present`). Every row of the route table has one arm in `api::dispatch`.

mod api;
mod call;
mod cookies;
mod edge;
mod engine;
mod full_network;
mod gzip;
mod html;
mod identifier;
mod identity;
mod instance_vars;
mod landing;
mod openapi;
mod page;
mod plans;
mod query;
mod reply;
mod settings;
mod sky;
mod state;
mod token;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post};

pub use engine::{CheckOptions, CheckTarget, Engine, EngineError, Hijack, LogLevel, WorkerInfo};
pub use openapi::document as openapi_document;
pub use settings::{
    Clock, Entropy, Features, LocalUser, Password, Settings, System, VERSION, WORKER_VERSION,
};
pub use state::AppState;

/// The longest form.
const MAX_FORM: usize = 64 << 10;

/// Everything that the server answers.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/", get(landing::landing))
        .route("/healthz", get(landing::alive))
        .route("/readyz", get(landing::ready))
        .route("/openapi.json", get(openapi::serve))
        .route("/login", get(sky::login::legacy_login))
        .route("/logout", get(sky::login::legacy_logout))
        .route("/fly_success", get(sky::fly::success))
        .route("/sky/login", get(sky::login::login))
        .route("/sky/callback", get(sky::login::callback))
        .route("/sky/logout", get(sky::login::logout))
        .route("/sky/issuer/auth", get(sky::login::show_form).post(sky::login::take_form))
        .route("/sky/issuer/token", post(sky::token::grant))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .route("/api/v1/{*path}", any(api::serve))
        .route("/.well-known/{*path}", any(api::serve))
        .layer(from_fn_with_state(state.clone(), edge::security::headers))
        .layer(from_fn(edge::trace::request))
        .with_state(state)
}
