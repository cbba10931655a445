//! A server with some teams and users, and requests to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, Request, StatusCode};
use jb_http::{AppState, Clock, Entropy, Features, LocalUser, Settings, router};
use jb_model::Timestamp;
use jb_store::{Options, Store};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::engine::FakeEngine;

/// When the tests happen.
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_228_000);
pub const EXTERNAL_URL: &str = "http://ci.example";

/// A clock that stands still until told otherwise.
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Bytes that differ from call to call, and are the same in every run.
struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        let seed = self.0.fetch_add(1, Ordering::Relaxed);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = seed.wrapping_mul(31).wrapping_add(at as u64).to_le_bytes()[0];
        }
        Ok(())
    }
}

pub struct Server {
    pub router: Router,
    pub store: Store,
    pub engine: Arc<FakeEngine>,
    clock: Arc<TestClock>,
}

/// An answer with its body read.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The cookies as a browser would send them back.
    pub fn cookies(&self) -> String {
        let pairs: Vec<&str> = self
            .headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
            .collect();
        pairs.join("; ")
    }
}

/// A request under construction.
pub struct Call<'a> {
    server: &'a Server,
    request: axum::http::request::Builder,
    body: Body,
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    pub fn cookie(self, cookies: &str) -> Self {
        self.header(COOKIE.as_str(), cookies)
    }

    pub fn json(mut self, value: &Value) -> Self {
        self.body = Body::from(value.to_string());
        self.header(CONTENT_TYPE.as_str(), "application/json")
    }

    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let text =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body = Body::from(text);
        self.header(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer with its body as a stream.
    pub async fn open(self) -> axum::response::Response {
        let request: Request<Body> = self.request.body(self.body).unwrap();
        self.server.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(self) -> Answer {
        let (parts, body) = self.open().await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

impl Server {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with other settings than the usual ones.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let store = Store::open("sqlite::memory:", Options::default(), NOW).await.unwrap();
        let main = json!({"owner": {"users": ["local:test"], "groups": []}});
        store.ensure_main_team(&main, NOW).await.unwrap();
        let engine = Arc::new(FakeEngine::new(store.clone(), NOW));
        let users = ["test", "guest", "viewer", "operator", "member", "owner", "other", "teamless"];
        let mut settings = Settings {
            external_url: EXTERNAL_URL.into(),
            local_users: users
                .iter()
                .map(|name| LocalUser::parse(&format!("{name}:{name}")).unwrap())
                .collect(),
            signing_key: b"a key for tests".to_vec(),
            features: Features { resource_causality: true, ..Features::default() },
            ..Settings::default()
        };
        change(&mut settings);
        let clock = Arc::new(TestClock(AtomicI64::new(NOW.0)));
        let entropy = Arc::new(TestEntropy(AtomicU64::new(1)));
        let state = AppState::new(store.clone(), engine.clone(), settings, clock.clone(), entropy);
        Self { router: router(state), store, engine, clock }
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        let request = Request::builder().method(method).uri(path);
        Call { server: self, request, body: Body::empty() }
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn put(&self, path: &str) -> Call<'_> {
        self.call("PUT", path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        self.call("POST", path)
    }

    /// Logs a user in whose password is the name.
    pub async fn login(&self, name: &str) -> String {
        let answer = self
            .post("/sky/issuer/token")
            .header("Authorization", "Basic Zmx5OlpteDU=")
            .form(&[
                ("grant_type", "password"),
                ("username", name),
                ("password", name),
                ("scope", "openid profile email federated:id groups"),
            ])
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Sets a pipeline as an administrator and unpauses it.
    pub async fn set_pipeline(&self, team: &str, name: &str, yaml: &str) {
        let token = self.login("test").await;
        let path = format!("/api/v1/teams/{team}/pipelines/{name}");
        let config = format!("{path}/config");
        let read = self.get(&config).token(&token).send().await;
        let answer = self
            .put(&config)
            .token(&token)
            .header("Content-Type", "application/x-yaml")
            .header("X-Concourse-Config-Version", read.header("x-concourse-config-version"))
            .body(yaml.to_owned())
            .send()
            .await;
        assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        let answer = self.put(&format!("{path}/unpause")).token(&token).send().await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}
