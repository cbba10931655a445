//! Headers that tell browsers to be careful.

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::settings::Settings;
use crate::state::AppState;

const X_DOWNLOAD_OPTIONS: HeaderName = HeaderName::from_static("x-download-options");

pub(crate) async fn headers(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    add(response.headers_mut(), state.settings());
    response
}

/// Adds what a handler has not set itself.
fn add(headers: &mut HeaderMap, settings: &Settings) {
    let mut put = |name: HeaderName, value: &str| {
        if value.is_empty() || headers.contains_key(&name) {
            return;
        }
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(X_FRAME_OPTIONS, &settings.x_frame_options);
    put(CONTENT_SECURITY_POLICY, &settings.content_security_policy);
    put(X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(X_DOWNLOAD_OPTIONS, "noopen");
    put(CACHE_CONTROL, "no-store, private");
    put(STRICT_TRANSPORT_SECURITY, &settings.strict_transport_security);
    for (name, value) in &settings.custom_headers {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            put(name, value);
        }
    }
}
