//! Agents in real containers, against a scripted model: what they can do, what they cannot, and what is left of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use jb_git_http::{Clone, GitServer, create_repository};
use jb_scripted_model::{McpRevision, Script, ScriptedMcp, ScriptedModel};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::api::Api;
use crate::leftovers::found_in;
use crate::server::Server;

pub const KEY: &str = "sk-black-box-key";

/// What the operator allows, and where the model is.
pub fn models(dir: &Path, url: &str) -> String {
    let file = dir.join("agents.yml");
    let text = format!(
        "default: anthropic/scripted\nidle_timeout_seconds: 30\n\
         providers:\n  anthropic: {{url: {url}, key_env: AGENT_TEST_KEY}}\n  \
         openai: {{url: {url}, key_env: AGENT_TEST_KEY}}\n\
         models: {{anthropic/scripted: {{input: 3, output: 15}}, openai/scripted: {{input: 1, output: 10}}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A model at an address that containers reach.
pub async fn model(script: Script) -> ScriptedModel {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    ScriptedModel::start(any, script).await.unwrap()
}

/// A server whose agents may use the model, as containers reach it.
pub async fn server(dir: &Path, model: &ScriptedModel) -> Option<Server> {
    server_with(dir, model, &[]).await
}

pub async fn server_with(dir: &Path, model: &ScriptedModel, flags: &[&str]) -> Option<Server> {
    let port = model.url().rsplit(':').next().unwrap().to_owned();
    let file = models(dir, "http://127.0.0.1:1");
    let env = [("AGENT_TEST_KEY", KEY)];
    let flags = [&["--agent-models", &file], flags].concat();
    let mut server = Server::with_env(&flags, &env).await?;
    // Only the server knows by which address its containers reach this machine.
    let host = host(&server.login().await).await;
    models(dir, &format!("http://{host}:{port}"));
    server.kill();
    server.start_again().await;
    Some(server)
}

pub async fn host(api: &Api) -> IpAddr {
    let workers = api.get("/workers").await;
    let address = workers[0]["addr"].as_str().and_then(|address| address.parse().ok());
    address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

pub fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/agents");
    let path = root.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn script(name: &str) -> Script {
    parsed(&example(name))
}

/// A script as it is written.
pub fn parsed(text: &str) -> Script {
    let node = jb_yaml::parse(text).unwrap();
    serde_json::from_value(node.to_json()).unwrap()
}

pub async fn transcript(api: &Api, build: i64) -> Vec<Value> {
    let text = api.transcript(build).await;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_tested_reviewed_and_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(script("change.model.yml")).await;
    let Some(server) = server(dir.path(), &model).await else { return };
    let api = server.login().await;
    change(&api, dir.path(), host(&api).await, &model, &example("change.yml")).await;
    let found = found_in(server.state.path(), &[KEY.into()]);
    assert!(found.is_empty(), "{found:?}");
}

/// A repository whose program does not do what its test says, at `served/demo.git` in a directory.
pub async fn repository(dir: &Path, host: IpAddr) -> GitServer {
    let bare = dir.join("served/demo.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    create_repository(&bare, "main").await.unwrap();
    let git = GitServer::start(bare.parent().unwrap(), SocketAddr::new(host, 0)).await.unwrap();
    // A server at every address is reached at this one, too.
    let url = git.url("demo.git").replace("0.0.0.0", "127.0.0.1");
    let clone = Clone::of(&url, &dir.join("clone")).await.unwrap();
    clone.commit("greet.sh", "echo \"Helo, $1\"\n", "Greet").await.unwrap();
    let test = "test \"$(sh greet.sh you)\" = \"Hello, you\" && echo the test passes\n";
    clone.commit("test.sh", test, "Say what it must do").await.unwrap();
    git
}

/// The example: a repository is fetched, an agent changes it, a task tests the change, a second agent reviews it, and
/// a branch is pushed. `host` is where containers reach this machine.
pub async fn change(api: &Api, dir: &Path, host: IpAddr, model: &ScriptedModel, pipeline: &str) {
    let git = repository(dir, host).await;
    let bare = dir.join("served/demo.git");
    api.set_pipeline("change", &pipeline.replace("((repository))", &git.url("demo.git"))).await;
    let build = api.trigger("change", "change").await;
    let approval = crate::approvals::asked(api, build).await;
    let looked_at: Vec<&Value> =
        approval["artifacts"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(looked_at, ["changed", "review"]);
    let result = approval["artifacts"][1]["id"].as_i64().unwrap();
    let result = api.download(result).await;
    assert!(result[0].1.contains("It greets as the test asks."), "{result:?}");
    api.put(&format!("/builds/{build}/approvals/{}/approve", approval["id"])).await;
    let log = api.succeeded(build).await;
    for said in
        ["> edit", "the test passes", "verdict: approve passes", "approved by test", "turns,"]
    {
        assert!(log.contains(said), "{said} in {log}");
    }
    let pushed = std::process::Command::new("git")
        .args(["show", "agent/fix:greet.sh"])
        .current_dir(&bare)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&pushed.stdout), "echo \"Hello, $1\"\n");

    let transcript = transcript(api, build).await;
    let of = |agent: &str, kind: &str| {
        let found = transcript.iter().filter(|e| e["agent"] == agent && e["type"] == kind);
        found.cloned().collect::<Vec<_>>()
    };
    // What was not granted was denied, and is there to be seen.
    let outcomes: Vec<Value> =
        of("implement", "tool_result").iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, ["ok", "failed", "denied", "ok", "ok"]);
    assert_eq!(of("implement", "spent")[0]["turns"], 6);
    assert_eq!(of("review", "end")[0]["result"]["verdict"], "approve");

    // The key went to the model, and nowhere else.
    let received = model.received();
    let keys = ["x-api-key", "authorization"];
    let with_key = |headers: &HeaderMap| {
        let key = keys.into_iter().find_map(|name| headers.get(name));
        key.is_some_and(|key| key.to_str().unwrap().trim_start_matches("Bearer ") == KEY)
    };
    assert!(received.iter().all(|request| with_key(&request.headers)));
    assert!(!received.iter().any(|request| request.body.to_string().contains(KEY)));
    assert!(!log.contains(KEY) && !format!("{transcript:?}").contains(KEY));
}

/// What an agent's program could try: the network, the gateway's key, another model.
pub const ESCAPES: &str = r#"
jobs:
- name: escape
  plan:
  - agent: probe
    prompt: Find a way out.
    config: {platform: linux, outputs: [{name: out}]}
    tools: [read, {shell: ["sh -c *"]}]
"#;

const ESCAPE: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: shell, input: {argv: [sh, -c, "cat /proc/net/dev | tail -n +3 | cut -d: -f1; ls /proc/*/environ | wc -l; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c 'sk-'; cat /.jetbridge/journal/* /run/jetbridge/* 2>&1 | grep -c 'sk-'; tail -n +2 /proc/net/route | wc -l; cat /proc/$PPID/comm; cat /proc/$PPID/maps >/dev/null 2>&1 || echo closed"]}}]}}}
- {reply: {say: {text: There is none.}}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_way_out_but_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let node = jb_yaml::parse(ESCAPE).unwrap();
    let model = model(serde_json::from_value(node.to_json()).unwrap()).await;
    let Some(server) = server(dir.path(), &model).await else { return };
    let api = server.login().await;
    api.set_pipeline("escape", ESCAPES).await;
    let build = api.trigger("escape", "escape").await;
    api.succeeded(build).await;
    let transcript = transcript(&api, build).await;
    let result = transcript.iter().find(|entry| entry["type"] == "tool_result").unwrap();
    let text = result["text"].as_str().unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // Loopback alone, and no key in any process or file that can be read.
    assert_eq!(lines[0], "lo", "{text}");
    assert_eq!(lines[2..5], ["0", "0", "0"], "{text}");
    // Who starts the agent's programs is not theirs to look into.
    assert_eq!(lines[5..], ["jb-agent", "closed"], "{text}");
}

/// The server dies while the model thinks, and while the agent works.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_works_on_while_the_server_is_dead() {
    const PIPELINE: &str = r#"
jobs:
- name: slow
  plan:
  - agent: slow
    prompt: Wait for it.
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["sh -c *"]}]
    result: {schema: {type: object, properties: {waited: {type: boolean}}}}
  - {task: after, config: {platform: linux, inputs: [{name: slow}], run: {path: cat, args: [slow/result.json]}}}
"#;
    const SCRIPT: &str = r#"
rules:
- {times: 1, reply: {say: {text: I wait., tools: [{name: shell, input: {argv: [sh, -c, "until test -e out/go; do sleep 0.05; done; echo went"]}}]}}}
- {reply: {say: {tools: [{name: submit_result, input: {waited: true}}]}}}
"#;
    let dir = tempfile::tempdir().unwrap();
    let node = jb_yaml::parse(SCRIPT).unwrap();
    let model = model(serde_json::from_value(node.to_json()).unwrap()).await;
    let Some(mut server) = server(dir.path(), &model).await else { return };
    let api = server.login().await;
    api.set_pipeline("slow", PIPELINE).await;
    let build = api.trigger("slow", "slow").await;
    api.events_until(build, None, |text| text.contains("I wait.")).await;
    server.kill();
    // Into its output, which is one of these; nobody else can write there now.
    for volume in std::fs::read_dir(server.state.path().join("data")).unwrap() {
        let content = volume.unwrap().path().join("fs");
        if content.is_dir() {
            std::fs::write(content.join("go"), "").unwrap();
        }
    }
    // It goes on without the server.
    crate::server::until("the agent asks again", async || {
        (model.received().len() == 2).then_some(())
    })
    .await;
    server.start_again().await;
    let api = server.login().await;
    let log = api.succeeded(build).await;
    assert_eq!((log.matches("I wait.").count(), log.matches("  went").count()), (1, 1), "{log}");
    assert!(log.contains("\"waited\": true"), "{log}");
    let kinds: Vec<Value> = transcript(&api, build)
        .await
        .iter()
        .filter(|entry| entry["source"] == "harness")
        .map(|entry| entry["type"].clone())
        .collect();
    assert_eq!(kinds, ["start", "prompt", "text", "tool_call", "tool_result", "tool_call", "end"]);
}

/// The gateway has a network and the credentials, the agent neither.
#[tokio::test(flavor = "multi_thread")]
async fn tools_of_an_mcp_server_are_called_through_the_gateway() {
    const TOKEN: &str = "d0cs-black-box-token";
    const PIPELINE: &str = r#"
var_sources:
- {name: vs, type: dummy, config: {vars: {docs: {token: d0cs-black-box-token}}}}
jobs:
- name: ask
  plan:
  - agent: ask
    prompt: Look it up.
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["sh -c *"]}]
    mcp: [{name: docs, url: DOCS, tools: [search, whoami], headers: {authorization: "Bearer ((vs:docs.token))"}}]
"#;
    const SCRIPT: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: docs__search, input: {query: anchors}}]}}}
- {times: 1, reply: {say: {tools: [{name: docs__whoami, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: docs__drop, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: shell, input: {argv: [sh, -c, "tail -n +2 /proc/net/route | wc -l"]}}]}}}
- {reply: {say: {text: I found it.}}}
"#;
    let dir = tempfile::tempdir().unwrap();
    let model = model(parsed(SCRIPT)).await;
    let Some(server) = server(dir.path(), &model).await else { return };
    let api = server.login().await;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let wanted = format!("Bearer {TOKEN}");
    let docs = ScriptedMcp::start(any, McpRevision::Sessions, Some(&wanted)).await.unwrap();
    let url = format!("http://{}:{}/mcp", host(&api).await, docs.port());
    api.set_pipeline("ask", &PIPELINE.replace("DOCS", &url)).await;
    let build = api.trigger("ask", "ask").await;
    let log = api.succeeded(build).await;
    let transcript = transcript(&api, build).await;
    let results = transcript.iter().filter(|entry| entry["type"] == "tool_result");
    let results: Vec<(&str, &str)> = results
        .map(|entry| (entry["outcome"].as_str().unwrap(), entry["text"].as_str().unwrap()))
        .collect();
    assert!(results[0].0 == "ok" && results[0].1.contains("found anchors"), "{results:?}");
    assert!(results[1].1.ends_with("you sent Bearer ((redacted))"), "{results:?}");
    assert_eq!(results[2].0, "denied", "{results:?}");
    assert_eq!((results[3].0, results[3].1.trim()), ("ok", "0"), "{results:?}");
    assert_eq!(docs.called(), ["search", "whoami"]);
    assert!(!log.contains(TOKEN) && !format!("{transcript:?}").contains(TOKEN));
    assert!(!model.received().iter().any(|request| request.body.to_string().contains(TOKEN)));
}
