//! Questions to people, answered from the terminal by several of them.

use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::Api;
use crate::server::{Server, jetbridge, until};

/// No step of these has a container.
const PIPELINE: &str = r#"
prototypes: [{name: approval, type: builtin}]
jobs:
- name: release
  plan: [{approve: release, message: Ship it?, roles: [member], quorum: 2, timeout: 24h}]
- name: named
  plan: [{run: named, type: approval, params: {users: ["local:vic"]}}]
- name: soon
  plan: [{approve: soon, timeout: 50ms, on_abort: {approve: never, timeout: 50ms}}]
"#;

async fn server() -> Option<Server> {
    let users = ["ann:ann", "bob:bob", "vic:vic"];
    let options: Vec<&str> = users.iter().flat_map(|user| ["--add-local-user", user]).collect();
    let server = Server::with(&options).await?;
    set_team(&server).await;
    server.login().await.set_pipeline("p", PIPELINE).await;
    Some(server)
}

/// The owner is who the server was started for; the rest is set anew by hand.
async fn set_team(server: &Server) {
    let only = |users: &[&str]| json!({"users": users, "groups": []});
    let auth = json!({
        "owner": only(&["local:test"]),
        "member": only(&["local:ann", "local:bob"]),
        "viewer": only(&["local:vic"]),
    });
    let api = server.login().await;
    let request = api.request(Method::PUT, "/teams/main").json(&json!({"auth": auth}));
    assert!(Api::send(request).await.status.is_success());
}

pub async fn asked(api: &Api, build: i64) -> Value {
    let path = format!("/builds/{build}/approvals");
    until("the question", async || api.get(&path).await.get(0).cloned()).await
}

/// The question about what an agent wants to do.
pub async fn asked_about(api: &Api, build: i64, call: &str) -> Value {
    let path = format!("/builds/{build}/approvals");
    until("the question", async || {
        let asked = api.get(&path).await;
        asked.as_array().unwrap().iter().find(|asked| asked["message"] == call).cloned()
    })
    .await
}

/// A command of someone who gives name and password.
fn said(server: &Server, who: &str, words: &[&str]) -> Output {
    let options = ["--url", &server.url, "--username", who, "--password", who];
    jetbridge().args(words).args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_approve_over_a_restart() {
    let Some(mut server) = server().await else { return };
    let api = server.login().await;
    let build = api.trigger("p", "release").await;
    let approval = asked(&api, build).await;
    let id = approval["id"].to_string();

    let listed = said(&server, "ann", &["approvals"]);
    let listed = text(&listed);
    let expected = format!("{id}  release  p/release #1  waiting: 0 of 2 answered, ");
    assert!(listed.starts_with(&expected) && listed.contains("    Ship it?\n"), "{listed}");
    let listed = text(&said(&server, "vic", &["approvals"]));
    assert!(listed.contains("not for you"), "{listed}");
    // Seeing it is not enough.
    let refused = said(&server, "vic", &["approve", &id]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains(&format!("approval {id} is answered by role member")));
    let wrong = jetbridge()
        .args(["approve", &id, "--url", &server.url, "--username", "ann", "--password", "x"])
        .output()
        .unwrap();
    assert!(text(&wrong).contains("does not let `ann` in"), "{}", text(&wrong));

    let first = said(&server, "ann", &["approve", &id, "-m", "read\nit"]);
    assert_eq!(text(&first), "waiting: 1 of 2 answered\n");
    server.kill();
    server.start_again().await;
    set_team(&server).await;
    let contrary = text(&said(&server, "ann", &["deny", &id]));
    assert!(contrary.contains("you have answered"), "{contrary}");

    // The second one logged in with fly.
    let home = tempfile::tempdir().unwrap();
    let bob = Api::login(&server.url, "bob", "bob").await;
    let flyrc = json!({"targets": {"ci": {
        "api": server.url, "team": "main", "token": {"type": "bearer", "value": bob.token},
    }}});
    std::fs::write(home.path().join(".flyrc"), flyrc.to_string()).unwrap();
    let fly = |words: &[&str]| {
        jetbridge().args(words).args(["-t", "ci"]).env("FLY_HOME", home.path()).output().unwrap()
    };
    assert_eq!(text(&fly(&["approve", &id])), "approved: 2 of 2 answered\n");
    let over = fly(&["approve", &id]);
    assert!(text(&over).contains(&format!("no approval {id} waits")), "{}", text(&over));

    let api = Api::with_token(&server.url, &api.token);
    let log = api.succeeded(build).await;
    assert!(log.contains("approved by ann: read it\n"), "{log}");
    assert!(log.contains("approved by bob\n"), "{log}");
    let answers = asked(&api, build).await["answers"].clone();
    assert_eq!((&answers[0]["name"], &answers[1]["name"]), (&json!("ann"), &json!("bob")));
}

/// Where others on the machine do not see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_the_environment_or_the_terminal() {
    let Some(server) = server().await else { return };
    let options = ["approvals", "--url", &server.url, "--username", "ann"];
    let with = |password: &str| {
        let mut command = jetbridge();
        command.args(options).env("JETBRIDGE_PASSWORD", password).output().unwrap()
    };
    assert!(with("ann").status.success(), "{}", text(&with("ann")));
    assert!(text(&with("x")).contains("does not let `ann` in"));

    let command = [&[env!("CARGO_BIN_EXE_jetbridge")], &options[..]].concat().join(" ");
    let mut typing = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env_remove("JETBRIDGE_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = typing.stdout.take().unwrap();
    let prompt = "password of ann: ";
    let mut asked = vec![0; prompt.len()];
    shown.read_exact(&mut asked).unwrap();
    assert_eq!(String::from_utf8_lossy(&asked), prompt);
    let mut keys = typing.stdin.take().unwrap();
    keys.write_all(b"ann\n").unwrap();
    let mut rest = String::new();
    shown.read_to_string(&mut rest).unwrap();
    assert!(typing.wait().unwrap().success(), "{rest}");
    assert!(!rest.contains("ann"), "{rest}");

    let refused = jetbridge().args(["approvals", "-u", "ann"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_rejected_expires_or_goes_with_its_build() {
    let Some(server) = server().await else { return };
    let api = server.login().await;

    let build = api.trigger("p", "release").await;
    let id = asked(&api, build).await["id"].to_string();
    assert_eq!(text(&said(&server, "bob", &["deny", &id])), "rejected: 1 of 2 answered\n");
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "failed", "{log}");
    let path = format!("/builds/{build}/approvals/{id}/approve");
    let late = Api::send(api.request(Method::PUT, &path)).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert_eq!(late.json()["detail"], format!("approval {id} waits no more: it is rejected"));

    // Someone named may answer whatever their role; who is not named, not even members.
    let build = api.trigger("p", "named").await;
    let id = asked(&api, build).await["id"].to_string();
    assert!(!said(&server, "ann", &["approve", &id]).status.success());
    assert!(said(&server, "vic", &["approve", &id]).status.success());
    api.succeeded(build).await;

    let build = api.trigger("p", "soon").await;
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "aborted", "{log}");
    assert!(log.contains("approval `soon` expired: 0 of 1 approved"), "{log}");
    assert_eq!(asked(&api, build).await["status"], "expired");

    let build = api.trigger("p", "release").await;
    asked(&api, build).await;
    api.put(&format!("/builds/{build}/abort")).await;
    assert_eq!(api.ended(build).await.0, "aborted");
    assert_eq!(asked(&api, build).await["status"], "withdrawn");
    assert_eq!(api.get("/approvals").await, json!([]));
}
