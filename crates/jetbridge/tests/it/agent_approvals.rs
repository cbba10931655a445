//! Agents whose calls wait for people, in real containers.

use std::path::Path;

use jb_scripted_model::MCP_PROGRAM;
use serde_json::{Value, json};

use crate::agents;
use crate::api::Api;
use crate::approvals::asked_about;
use crate::server::until;

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

pub const PARKED: &str = r#"
jobs:
- name: touch
  plan:
  - {task: make, config: {platform: linux, outputs: [{name: src}], run: {path: sh, args: [-c, "echo given > src/given"]}}}
  - agent: careful
    prompt: Make two files.
    config: {platform: linux, inputs: [{name: src}], outputs: [{name: out}, {name: changed, path: src}]}
    tools: [write, {shell: ["touch*", "cat*"]}]
    mcp: [{name: db, command: [sh, -c, PROGRAM], tools: [count]}]
    approval: {tools: [{shell: ["touch*"]}], timeout: 168h}
    budget: {turns: 3}
  - {task: after, config: {platform: linux, inputs: [{name: out}, {name: changed}], run: {path: sh, args: [-c, "echo; ls out; cat changed/*"]}}}
"#;

pub const PARKED_SCRIPT: &str = r#"
rules:
- when: {messages: 1}
  reply: {say: {text: I make them., tools: [{name: write, input: {path: src/new, content: "new\n"}}, {name: db__count, input: {}}, {name: shell, input: {argv: [touch, out/one]}}]}}
- when: {messages: 3}
  reply: {say: {tools: [{name: shell, input: {argv: [cat, src/given, src/new]}}, {name: db__count, input: {}}, {name: shell, input: {argv: [touch, out/two]}}]}}
- {reply: {say: {text: They are there.}}}
"#;

/// Lets agents that wait for people stop at once, as the server is told when it starts.
pub fn stop_at_once(dir: &Path) {
    let file = dir.join("agents.yml");
    let models = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("suspend_after_seconds: 0\n{models}")).unwrap();
}

/// The agent's containers go while people take their time, and what it did is there when it goes on. Its server is
/// another one then, which counts anew.
pub async fn nothing_runs(api: Api, pipeline: &str, mut restart: impl AsyncFnMut() -> Api) {
    let program = json!(MCP_PROGRAM).to_string();
    api.set_pipeline("careful", &pipeline.replace("PROGRAM", &program)).await;
    let build = api.trigger("careful", "touch").await;
    let mut api = api;
    for (call, verb) in [("touch out/one", "approve"), ("touch out/two", "deny")] {
        let asked = asked_about(&api, build, call).await;
        // The server dies with nothing of the agent there, and is asked when it is back.
        until("nothing of it runs", async || {
            let path = format!("/teams/main/containers?build_id={build}");
            let containers = api.get(&path).await;
            let mut names = containers.as_array().unwrap().iter().map(|it| &it["step_name"]);
            (!names.any(|name| name.as_str().unwrap().starts_with("careful"))).then_some(())
        })
        .await;
        api = restart().await;
        api.put(&format!("/builds/{build}/approvals/{}/{verb}", asked["id"])).await;
    }
    let log = api.succeeded(build).await;
    for said in ["given\n  new", "denied: denied by a person", "They are there.", "3 turns"] {
        assert!(log.contains(said), "{said} in {log}");
    }
    assert!(log.ends_with("\r\none\r\ngiven\r\nnew\r\n"), "{log}");
    assert_eq!(log.matches("I make them.").count(), 1, "{log}");
    let transcript = agents::transcript(&api, build).await;
    let kinds = |source: &str| {
        let of = transcript.iter().filter(|entry| entry["source"] == source);
        of.map(|entry| entry["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let harness = [
        "start prompt text tool_call tool_result tool_call tool_result tool_call approval_asked suspended",
        "resumed approval_answered tool_result tool_call tool_result tool_call tool_result tool_call approval_asked \
         suspended",
        "resumed approval_answered tool_result text end",
    ];
    assert_eq!(kinds("harness").join(" "), harness.join(" "));
    let gateway = ["model_call mcp_call spent", "model_call mcp_call spent", "model_call spent"];
    assert_eq!(kinds("gateway").join(" "), gateway.join(" "));
    let counted = transcript.iter().filter(|entry| {
        (&entry["type"], &entry["name"]) == (&json!("tool_result"), &json!("db__count"))
    });
    let counted: Vec<_> = counted.map(|entry| entry["text"].as_str().unwrap()).collect();
    assert!(
        counted.len() == 2 && counted.iter().all(|it| it.trim_end().ends_with("\n1")),
        "{counted:?}"
    );
    let calls = transcript.iter().filter(|entry| entry["type"] == "model_call");
    assert_eq!(calls.map(|it| it["number"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_while_people_take_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(PARKED_SCRIPT)).await;
    let Some(mut server) = agents::server(dir.path(), &model).await else { return };
    stop_at_once(dir.path());
    server.kill();
    server.start_again().await;
    let api = server.login().await;
    nothing_runs(api, PARKED, async || {
        server.kill();
        server.start_again().await;
        server.login().await
    })
    .await;
    assert_eq!(model.received().len(), 3);
}
