//! Agents whose calls wait for people, in real containers.

use serde_json::{Value, json};

use crate::agents;
use crate::api::Api;
use crate::approvals::asked_about;

pub const PIPELINE: &str = r#"
jobs:
- name: touch
  plan:
  - agent: careful
    prompt: Make two files.
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["touch *", "echo*"]}]
    approval: {tools: [{shell: ["touch*"]}], timeout: 4h}
    budget: {time: 30m}
  - {task: after, config: {platform: linux, inputs: [{name: out}], run: {path: ls, args: [out]}}}
"#;

pub const SCRIPT: &str = r#"
rules:
- when: {messages: 1}
  reply: {say: {text: I make them., tools: [{name: shell, input: {argv: [touch, out/one]}}, {name: shell, input: {argv: [touch, out/two words]}}]}}
- {reply: {say: {text: As you like.}}}
"#;

/// Two calls wait at once, over a death of the server; one is approved, one denied, and the agent goes on.
pub async fn two_calls_wait(api: Api, restart: impl AsyncFnOnce() -> Api) {
    api.set_pipeline("careful", PIPELINE).await;
    let build = api.trigger("careful", "touch").await;
    let one = asked_about(&api, build, "touch out/one").await;
    let two = asked_about(&api, build, "touch \"out/two words\"").await;
    assert_eq!((&one["name"], &one["status"]), (&json!("careful"), &json!("waiting")));
    assert_eq!((&one["call_id"], &two["call_id"]), (&json!("a1"), &json!("a2")));
    let answer = |approval: &Value, verb: &str| {
        format!("/builds/{build}/approvals/{}/{verb}", approval["id"])
    };
    api.put(&answer(&two, "deny")).await;
    let api = restart().await;
    api.put(&answer(&one, "approve")).await;
    let log = api.succeeded(build).await;
    for said in ["> shell", "denied: denied by a person", "As you like.", "one"] {
        assert!(log.contains(said), "{said} in {log}");
    }
    assert!(!log.ends_with("two words\r\n"), "{log}");
    assert_eq!(log.matches("waiting for approval of a call of `careful`").count(), 2, "{log}");
    let transcript = agents::transcript(&api, build).await;
    let harness = transcript.iter().filter(|entry| entry["source"] == "harness");
    let kinds: Vec<&str> = harness.clone().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "start",
            "prompt",
            "text",
            "tool_call",
            "approval_asked",
            "tool_call",
            "approval_asked",
            "approval_answered",
            "tool_result",
            "approval_answered",
            "tool_result",
            "text",
            "end"
        ]
    );
    let answers = harness.filter(|entry| entry["type"] == "approval_answered");
    let answers: Vec<_> = answers.map(|it| (it["id"].clone(), it["approved"].clone())).collect();
    assert_eq!(answers, [(json!("a1"), json!(true)), (json!("a2"), json!(false))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_over_a_death_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(SCRIPT)).await;
    let Some(mut server) = agents::server(dir.path(), &model).await else { return };
    let api = server.login().await;
    two_calls_wait(api, async || {
        server.kill();
        server.start_again().await;
        server.login().await
    })
    .await;
    assert_eq!(model.received().len(), 2);
}
