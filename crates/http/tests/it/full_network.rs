//! Agents with the network of tasks, and who may bring them in.

use jb_authz::Role;
use serde_json::{Value, json};

use crate::server::{Answer, NOW, Server};

const PIPELINE: &str = "
prototypes: [{name: agent, type: builtin}]
jobs:
- name: j
  plan:
  - {agent: lists, prompt: x, config: {platform: linux}, network: [crates.io]}
  - try: {run: roams, type: agent, params: {prompt: x, config: {platform: linux}, network: full}}
";

async fn server(role: Role) -> Server {
    let server = Server::with(|settings| settings.agent_full_network_role = role).await;
    let only = |user: &str| json!({"users": [format!("local:{user}")], "groups": []});
    let crew = json!({"member": only("member"), "owner": only("owner")});
    server.store.save_team("crew", &crew, NOW).await.unwrap();
    server
}

async fn set(server: &Server, user: &str, yaml: &str) -> Answer {
    let token = server.login(user).await;
    let path = "/api/v1/teams/crew/pipelines/p/config";
    let read = server.get(path).token(&token).send().await;
    let put = server.put(path).token(&token).header("Content-Type", "application/x-yaml");
    let version = read.header("x-concourse-config-version");
    put.header("X-Concourse-Config-Version", version).body(yaml.to_owned()).send().await
}

/// A plan as clients post it: the agent is in a hook, and tried again.
fn plan(network: &str) -> Value {
    let task = |name: &str, network: &str| {
        json!({"name": name, "privileged": false, "hermetic": false,
               "config": {"platform": "linux", "run": {"path": ""}},
               "agent": {"harness": "builtin", "prompt": "x", "network": network, "budget": {}}})
    };
    json!({"id": "1", "on_failure": {
        "step": {"id": "2", "task": task("quiet", "gateway")},
        "on_failure": {"id": "3", "retry": [{"id": "4", "task": task("roams", network)}]},
    }})
}

async fn run(server: &Server, user: &str, network: &str) -> Answer {
    let token = server.login(user).await;
    let plan = plan(network);
    server.post("/api/v1/teams/crew/builds").token(&token).json(&plan).send().await
}

#[tokio::test]
async fn only_who_has_the_role_brings_in_agents_with_a_network() {
    let server = server(Role::Owner).await;
    let refused = set(&server, "member", PIPELINE).await;
    assert_eq!(refused.status.as_u16(), 403);
    let text = refused.text();
    assert!(text.contains("`network: full`: j/roams; bringing"), "{text}");
    assert!(text.contains("needs the role `owner` on team `crew`"), "{text}");
    // Hosts by name are anybody's who sets pipelines.
    let listed = PIPELINE.replace("network: full", "network: ['*.crates.io']");
    assert_eq!(set(&server, "member", &listed).await.status.as_u16(), 201);
    assert_eq!(set(&server, "owner", PIPELINE).await.status.as_u16(), 200);
    // It is there now, and is nobody else's to bring in again, changed or not.
    assert_eq!(set(&server, "member", PIPELINE).await.status.as_u16(), 403);
    assert_eq!(set(&server, "test", PIPELINE).await.status.as_u16(), 200);
}

#[tokio::test]
async fn one_off_builds_have_no_such_agents_of_others() {
    let server = server(Role::Owner).await;
    let refused = run(&server, "member", "full").await;
    assert_eq!(refused.status.as_u16(), 403);
    assert!(refused.text().contains("`network: full`: roams; bringing"), "{}", refused.text());
    assert_eq!(run(&server, "member", "gateway").await.status.as_u16(), 201);
    assert_eq!(run(&server, "owner", "full").await.status.as_u16(), 201);
}

#[tokio::test]
async fn the_operator_says_which_role_that_is() {
    let server = server(Role::Member).await;
    assert_eq!(set(&server, "member", PIPELINE).await.status.as_u16(), 201);
    assert_eq!(run(&server, "member", "full").await.status.as_u16(), 201);
}
