//! Saving and reading configurations.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const CONFIG: &str = "/api/v1/teams/main/pipelines/p/config";

struct Setting {
    server: Server,
    token: String,
}

impl Setting {
    async fn new() -> Self {
        let server = Server::new().await;
        let token = server.login("test").await;
        Self { server, token }
    }

    async fn put(&self, kind: &str, version: &str, body: &str) -> Answer {
        self.put_to(CONFIG, kind, version, body).await
    }

    async fn put_to(&self, path: &str, kind: &str, version: &str, body: &str) -> Answer {
        self.server
            .put(path)
            .token(&self.token)
            .header("Content-Type", kind)
            .header("X-Concourse-Config-Version", version)
            .body(body.to_owned())
            .send()
            .await
    }

    async fn get(&self) -> Answer {
        self.server.get(CONFIG).token(&self.token).send().await
    }
}

const YAML: &str = "application/x-yaml";
const JSON: &str = "application/json";

#[tokio::test]
async fn configurations_are_created_updated_and_read_back() {
    let setting = Setting::new().await;
    assert_eq!(setting.get().await.status, StatusCode::NOT_FOUND);
    let one = "jobs:\n- name: one\n  plan: []\nextra: {ignored: true}\n";
    let created = setting.put(YAML, "", one).await;
    assert_eq!((created.status, created.text().as_str()), (StatusCode::CREATED, "{}\n"));
    let read = setting.get().await;
    let version = read.header("x-concourse-config-version").to_owned();
    assert_eq!(read.json()["config"]["jobs"][0]["name"], "one");
    assert!(read.json()["config"].get("extra").is_none());
    let two = json!({"jobs": [{"name": "two", "plan": []}], "user_data": {"a": 1}}).to_string();
    let stale = setting.put(JSON, "", &two).await;
    assert_eq!(stale.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        stale.text(),
        "failed to save config: comparison with existing config failed during save"
    );
    let updated = setting.put(JSON, &version, &two).await;
    assert_eq!((updated.status, updated.text().as_str()), (StatusCode::OK, "{}\n"));
    let read =
        async |path: &str| setting.server.get(path).token(&setting.token).send().await.json();
    assert_eq!(read("/api/v1/teams/main/pipelines/p").await["user_data"], json!({"a": 1}));
    assert_eq!(read("/api/v1/teams/main/pipelines").await[0]["user_data"], json!({"a": 1}));
    assert_eq!(read("/api/v1/pipelines").await[0]["user_data"], json!({"a": 1}));
    let version = setting.get().await.header("x-concourse-config-version").to_owned();
    setting.put(YAML, &version, one).await;
    assert!(read("/api/v1/pipelines").await[0].get("user_data").is_none());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_reasons() {
    let setting = Setting::new().await;
    let errors = |answer: Answer| -> Vec<Value> {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
        assert_eq!(answer.header("content-type"), JSON);
        answer.json()["errors"].as_array().unwrap().clone()
    };
    let plain = setting.put("text/plain", "", "jobs: []").await;
    assert_eq!(plain.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let version = setting.put(YAML, "one", "jobs: []").await;
    assert!(errors(version)[0].as_str().unwrap().starts_with("config version is malformed: "));
    let nested = setting.put(YAML, "", "jobs: [{name: a, plan: [], nosuch: 1}]").await;
    assert!(errors(nested)[0].as_str().unwrap().starts_with("malformed config: "));
    let empty = setting.put(YAML, "", "jobs: []").await;
    assert!(!errors(empty).is_empty());
    let vars = format!("{CONFIG}?vars.a=nojson");
    let malformed = setting.put_to(&vars, YAML, "", "jobs: [{name: a, plan: []}]").await;
    assert!(errors(malformed)[0].as_str().unwrap().starts_with("instance vars are malformed: "));
    let elsewhere = "/api/v1/teams/nosuch/pipelines/p/config";
    let missing = setting.put_to(elsewhere, YAML, "", "jobs: [{name: a, plan: []}]").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn odd_names_are_worth_a_warning() {
    let setting = Setting::new().await;
    let path = "/api/v1/teams/main/pipelines/Odd%20Name/config";
    let saved = setting.put_to(path, YAML, "", "jobs: [{name: a, plan: []}]").await;
    assert_eq!(saved.status, StatusCode::CREATED);
    let warning = &saved.json()["warnings"][0];
    assert_eq!(warning["type"], "invalid_identifier");
    assert!(warning["message"].as_str().unwrap().starts_with("pipeline: 'Odd Name'"), "{warning}");
}

#[tokio::test]
async fn instances_are_told_apart_by_their_vars() {
    let setting = Setting::new().await;
    for branch in ["feat%2Fone", "main"] {
        let path = format!("{CONFIG}?vars.branch=%22{branch}%22");
        let saved = setting.put_to(&path, YAML, "", "jobs: [{name: a, plan: []}]").await;
        assert_eq!(saved.status, StatusCode::CREATED);
    }
    let (server, token) = (&setting.server, &setting.token);
    let p = "/api/v1/teams/main/pipelines/p";
    let get = |query: &str| server.get(&format!("{p}{query}")).token(token);
    assert_eq!(get("").send().await.status, StatusCode::NOT_FOUND);
    let one = get("?vars=%7B%22branch%22:%22feat/one%22%7D").send().await.json();
    assert_eq!(one["instance_vars"], json!({"branch": "feat/one"}));
    let order = json!([{"branch": "main"}, {"branch": "feat/one"}]);
    let ordered = server.put(&format!("{p}/ordering")).token(token).json(&order).send().await;
    assert_eq!(ordered.status, StatusCode::OK);
    let unknown = json!([{"branch": "nosuch"}]);
    let refused = server.put(&format!("{p}/ordering")).token(token).json(&unknown).send().await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let listed = server.get("/api/v1/teams/main/pipelines").token(token).send().await.json();
    assert_eq!(listed[0]["instance_vars"]["branch"], "main");
    let unordered = json!(["p", "nosuch"]);
    let path = "/api/v1/teams/main/pipelines/ordering";
    let refused = server.put(path).token(token).json(&unordered).send().await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text().contains("nosuch"), "{}", refused.text());
}

#[tokio::test]
async fn secrets_are_looked_for_when_asked() {
    let setting = Setting::new().await;
    let missing = "
resources: [{name: r, type: mock, source: {a: ((token)), b: ((one)), c: ((two))}, webhook_token: ((three))}]
jobs: [{name: j, plan: [{get: r}]}]
";
    let path = format!("{CONFIG}?check_creds=");
    let refused = setting.put_to(&path, YAML, "", missing).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let said = "credential validation failed\n\n2 errors occurred:\n\t* undefined vars: one, two\n\t* undefined vars: three\n\n";
    assert_eq!(refused.json(), json!({"errors": [said]}));
    assert_eq!(setting.get().await.status, StatusCode::NOT_FOUND, "nothing was saved");
    let there = "resources: [{name: r, type: mock, source: {a: ((token))}}]\njobs: [{name: j, plan: [{get: r}]}]\n";
    assert_eq!(setting.put_to(&path, YAML, "", there).await.status, StatusCode::CREATED);
    let version = setting.get().await.header("x-concourse-config-version").to_owned();
    let unasked = setting.put(YAML, &version, missing).await;
    assert_eq!(unasked.status, StatusCode::OK, "builds will tell");
}
