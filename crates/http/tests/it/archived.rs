//! What an archived pipeline refuses, and to whom.

use axum::http::StatusCode;
use jb_authz::ROUTES;

use crate::server::Server;

#[tokio::test]
async fn archived_pipelines_refuse_before_they_ask_who_wants() {
    let server = Server::new().await;
    server.set_pipeline("main", "p", "jobs: [{name: j, plan: []}]\n").await;
    let token = server.login("test").await;
    let p = "/api/v1/teams/main/pipelines/p";
    for route in ROUTES.iter().filter(|route| route.rejects_archived) {
        let missing = path(route.path, "nosuch");
        let answer = server.call(route.method.as_str(), &missing).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{missing}");
        let there = path(route.path, "p");
        let answer = server.call(route.method.as_str(), &there).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{there}");
    }
    let archived = server.put(&format!("{p}/archive")).token(&token).send().await;
    assert_eq!(archived.status, StatusCode::OK);
    for route in ROUTES.iter().filter(|route| route.rejects_archived) {
        let there = path(route.path, "p");
        let answer = server.call(route.method.as_str(), &there).send().await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{there}");
        assert_eq!(answer.text(), "action not allowed for an archived pipeline\n");
    }
    let config = server.get(&format!("{p}/config")).token(&token).send().await;
    assert_eq!(config.status, StatusCode::NOT_FOUND);
    let pipeline = server.get(p).token(&token).send().await.json();
    assert_eq!((&pipeline["archived"], &pipeline["paused"]), (&true.into(), &true.into()));
    // Setting it again brings it back.
    server.set_pipeline("main", "p", "jobs: [{name: j, plan: []}]\n").await;
    let pipeline = server.get(p).token(&token).send().await.json();
    assert_eq!(pipeline["archived"], false);
}

fn path(pattern: &str, pipeline: &str) -> String {
    pattern
        .split('/')
        .map(|part| match part {
            "{team_name}" => "main",
            "{pipeline_name}" => pipeline,
            part if part.starts_with('{') => "1",
            part => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}
