//! Teams, users, the wall, components and the log level.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use crate::server::{EXTERNAL_URL, Server};

#[tokio::test]
async fn teams_are_set_renamed_and_destroyed() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let auth = json!({"auth": {"owner": {"users": ["local:guest"], "groups": null}}});
    let set = |name: &str| server.put(&format!("/api/v1/teams/{name}")).token(&token);
    let created = set("guests").json(&auth).send().await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(
        created.json()["team"]["auth"],
        json!({"owner": {"groups": [], "users": ["local:guest"]}})
    );
    assert_eq!(set("guests").json(&auth).send().await.status, StatusCode::OK);
    let odd = set("Odd").json(&auth).send().await;
    assert_eq!(odd.status, StatusCode::CREATED);
    assert_eq!(odd.json()["warnings"][0]["type"], "invalid_identifier");
    for bad in [
        json!({"auth": {}}),
        json!({"auth": {"king": {"users": ["local:guest"]}}}),
        json!({"auth": {"owner": {"users": [], "groups": []}}}),
        json!([]),
    ] {
        assert_eq!(set("bad").json(&bad).send().await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let guest = server.login("guest").await;
    // An owner may change the own team, and nobody but administrators makes new ones.
    let own = server.put("/api/v1/teams/guests").token(&guest).json(&auth).send().await;
    assert_eq!(own.status, StatusCode::OK);
    let new = server.put("/api/v1/teams/mine").token(&guest).json(&auth).send().await;
    assert_eq!(new.status, StatusCode::FORBIDDEN);
    let listed = server.get("/api/v1/teams").token(&guest).send().await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let rename = server
        .put("/api/v1/teams/guests/rename")
        .token(&guest)
        .json(&json!({"name": "visitors"}))
        .send()
        .await;
    assert_eq!((rename.status, rename.text().as_str()), (StatusCode::OK, "{}\n"));
    let empty = server
        .put("/api/v1/teams/visitors/rename")
        .token(&guest)
        .json(&json!({"name": ""}))
        .send()
        .await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    assert!(empty.json()["errors"][0].is_string());
    let destroy =
        |name: &str| server.call("DELETE", &format!("/api/v1/teams/{name}")).token(&token);
    assert_eq!(destroy("visitors").send().await.status, StatusCode::NO_CONTENT);
    assert_eq!(destroy("visitors").send().await.status, StatusCode::NOT_FOUND);
    assert_eq!(destroy("main").send().await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_wall_holds_a_message_for_a_while() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let set = |body| server.put("/api/v1/wall").token(&token).json(&body);
    assert_eq!(set(json!({"message": ""})).send().await.status, StatusCode::BAD_REQUEST);
    let hour = 3_600_000_000_000_i64;
    set(json!({"message": "maintenance", "TTL": hour})).send().await;
    server.pass(600);
    let wall = server.get("/api/v1/wall").send().await;
    assert_eq!(wall.json(), json!({"message": "maintenance", "TTL": hour / 6 * 5}));
    server.pass(3600);
    assert_eq!(server.get("/api/v1/wall").send().await.text(), "{}\n");
    set(json!({"message": "for good"})).send().await;
    assert_eq!(server.get("/api/v1/wall").send().await.text(), "{\"message\":\"for good\"}\n");
    server.call("DELETE", "/api/v1/wall").token(&token).send().await;
    assert_eq!(server.get("/api/v1/wall").send().await.text(), "{}\n");
}

#[tokio::test]
async fn components_are_shown_and_paused() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let minute = Duration::from_secs(60);
    server.store.set_components(&[("scanner", minute), ("scheduler", minute)]).await.unwrap();
    let put = |path: &str| server.put(&format!("/api/v1/components/{path}")).token(&token);
    assert_eq!(put("scanner/pause").send().await.status, StatusCode::OK);
    assert_eq!(put("nosuch/pause").send().await.status, StatusCode::NOT_FOUND);
    let list = || async { server.get("/api/v1/components").token(&token).send().await.json() };
    let components = list().await;
    assert_eq!(
        components[0],
        json!({
            "name": "scanner",
            "interval": 60_000_000_000_i64,
            "last_ran": "0001-01-01T00:00:00Z",
            "paused": true,
        })
    );
    assert_eq!(components[1]["paused"], false);
    put("pause").send().await;
    assert_eq!(list().await[1]["paused"], true);
    put("unpause").send().await;
    assert_eq!(list().await[0]["paused"], false);
    let health = server.get("/api/v1/health").send().await;
    assert_eq!(health.status, StatusCode::OK);
    assert_eq!(health.json()["status"], "ok");
    assert_eq!(health.json()["workers"]["total"], 2);
}

#[tokio::test]
async fn who_logged_in_is_told_to_administrators() {
    let server = Server::new().await;
    let token = server.login("test").await;
    server.login("guest").await;
    let users = |query: &str| server.get(&format!("/api/v1/users{query}")).token(&token);
    let all = users("").send().await.json();
    let names: Vec<&str> =
        all.as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["guest", "test"]);
    assert_eq!(users("?since=2030-01-01").send().await.text(), "[]\n");
    let bad = users("?since=yesterday").send().await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert_eq!(bad.json(), json!({"error": "wrong date format (yyyy-mm-dd)"}));
}

#[tokio::test]
async fn small_answers() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let level = server.get("/api/v1/log-level").token(&token).send().await;
    assert_eq!(
        (level.text().as_str(), level.header("content-type")),
        ("info", "text/plain; charset=utf-8")
    );
    let set = |level: &'static str| server.put("/api/v1/log-level").token(&token).body(level);
    assert_eq!(set("debug").send().await.status, StatusCode::OK);
    assert_eq!(set("loud").send().await.status, StatusCode::BAD_REQUEST);
    let level = server.get("/api/v1/log-level").token(&token).send().await;
    assert_eq!(level.text(), "debug");
    let cli = |query: &str| server.get(&format!("/api/v1/cli{query}"));
    assert_eq!(cli("").send().await.status, StatusCode::BAD_REQUEST);
    assert_eq!(cli("?platform=../x&arch=amd64").send().await.status, StatusCode::BAD_REQUEST);
    let none = cli("?platform=Linux&arch=amd64").send().await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.text().contains("does not serve fly"));
    let wrong = server.call("PATCH", "/api/v1/info").send().await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    let head = server.call("HEAD", "/api/v1/info").send().await;
    assert_eq!(head.status, StatusCode::OK);
    let badge = server.get("/api/v1/pipelines/p/jobs/j/badge?title=x").send().await;
    assert_eq!(badge.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(badge.header("location"), "/api/v1/teams/main/pipelines/p/jobs/j/badge?title=x");
}

#[tokio::test]
async fn a_worker_that_is_not_in_service_is_forgotten() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let workers = async || {
        let workers = server.get("/api/v1/workers").token(&token).send().await.json();
        let workers = workers.as_array().unwrap().iter();
        workers.map(|worker| format!("{} {}", worker["name"], worker["state"])).collect::<Vec<_>>()
    };
    assert_eq!(workers().await.last().unwrap(), r#""gone" "stalled""#);
    let prune = async |name: &str| {
        server.put(&format!("/api/v1/workers/{name}/prune")).token(&token).send().await
    };
    let refused = prune("vm").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json(), json!({"stderr": "cannot prune running worker"}));
    assert_eq!(prune("nobody").await.status, StatusCode::NOT_FOUND);
    let health = server.get("/api/v1/health").send().await;
    assert_eq!(health.json()["status"], "ok", "what is not here is not unwell");
    // Whoever is of no team but those of administrators may not.
    let guest = server.login("guest").await;
    let refused = server.put("/api/v1/workers/gone/prune").token(&guest).send().await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(prune("gone").await.status, StatusCode::OK);
    assert_eq!(workers().await.len(), 2);
}

#[tokio::test]
async fn identity_tokens_have_no_keys_yet() {
    let server = Server::new().await;
    let about = server.get("/.well-known/openid-configuration").send().await;
    assert_eq!(
        about.json(),
        json!({
            "issuer": EXTERNAL_URL,
            "jwks_uri": format!("{EXTERNAL_URL}/.well-known/jwks.json"),
            "claims_supported": ["aud", "iat", "iss", "sub"],
            "response_types_supported": ["idtoken"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "subject_types_supported": ["public"],
        })
    );
    let keys = server.get("/.well-known/jwks.json").send().await;
    assert_eq!((keys.status, keys.json()), (StatusCode::OK, json!({"keys": []})));
}

#[tokio::test]
async fn a_worker_on_another_machine_is_told_why_it_cannot_register() {
    let server = Server::new().await;
    let token = server.login("test").await;
    for (method, path) in [("PUT", "/api/v1/workers/vm/land"), ("PUT", "/api/v1/workers/vm/retire")]
    {
        let answer = server.call(method, path).token(&token).send().await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{path}");
        assert!(answer.text().contains("takes no remote workers"), "{path}: {}", answer.text());
    }
    // Registering is for the system, which nobody here can be.
    let register =
        server.post("/api/v1/workers?ttl=30s").token(&token).json(&json!({})).send().await;
    assert_eq!(register.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn long_answers_are_packed_for_those_who_accept_it() {
    let server = Server::new().await;
    let token = server.login("test").await;
    for number in 0..30 {
        let auth = json!({"auth": {"owner": {"users": ["local:guest"]}}});
        server.put(&format!("/api/v1/teams/t{number}")).token(&token).json(&auth).send().await;
    }
    let plain = server.get("/api/v1/teams").token(&token).send().await;
    let packed =
        server.get("/api/v1/teams").token(&token).header("Accept-Encoding", "gzip").send().await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(packed.header("vary"), "Accept-Encoding");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(packed.body.as_slice()),
        &mut unpacked,
    )
    .unwrap();
    assert_eq!(unpacked, plain.body);
    assert!(packed.body.len() < plain.body.len() / 2);
}
