//! Tools of MCP servers in real containers: of one that is reached by HTTP, and of one that is a program.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jb_scripted_model::{MCP_PROGRAM, McpRevision, Script, ScriptedMcp, ScriptedModel};
use serde_json::{Value, json};

use crate::agent_networks::{HOST, connections, host_at};
use crate::agents;
use crate::api::Api;
use crate::docker_registry::Registry;
use crate::image::{Contents, Layer, shell};

/// What the one server is sent, and what the other is started with.
const TOKENS: [&str; 2] = ["d0cs-black-box-token", "pg-black-box-t0ken"];
const VAR_SOURCES: &str = r#"
var_sources:
- {name: vs, type: dummy, config: {vars: {docs: {token: d0cs-black-box-token}, pg: {token: pg-black-box-t0ken}}}}
"#;
const PIPELINE: &str = r#"
jobs:
- name: ask
  plan:
  - agent: ask
    prompt: Look it up.
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["sh -c *"]}]
    mcp:
    - {name: docs, url: DOCS, tools: [search, whoami], headers: {authorization: "Bearer ((vs:docs.token))"}}
    - {name: db, command: [sh, -c, PROGRAM], tools: [query, whoami, count, die], params: {TOKEN: ((vs:pg.token))}}
"#;
/// The agent looks for what is not its own as well: another's socket, and what the servers were given.
const SCRIPT: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: docs__search, input: {query: anchors}}]}}}
- {times: 1, reply: {say: {tools: [{name: docs__whoami, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: docs__drop, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: db__query, input: {query: users}}]}}}
- {times: 1, reply: {say: {tools: [{name: db__whoami, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: db__drop, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: shell, input: {argv: [sh, -c, "ls /run/jetbridge-mcp 2>/dev/null | wc -l; cat /proc/*/environ 2>/dev/null | grep -c black-box; true"]}}]}}}
- {times: 1, reply: {say: {tools: [{name: db__die, input: {}}]}}}
- {times: 1, reply: {say: {tools: [{name: db__query, input: {query: more}}]}}}
- {reply: {say: {text: I found it.}}}
"#;

/// The model of [`ask_both`].
pub fn script() -> Script {
    agents::parsed(SCRIPT)
}

/// The pipeline, with a server at `docs`.
fn pipeline(docs: &str) -> String {
    let jobs = PIPELINE.replace("DOCS", docs).replace("PROGRAM", &json!(MCP_PROGRAM).to_string());
    format!("{VAR_SOURCES}{jobs}")
}

/// An agent asks both servers, and sees what it is granted. Containers reach this machine at `host`.
pub async fn ask_both(api: &Api, model: &ScriptedModel, host: IpAddr) {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let wanted = format!("Bearer {}", TOKENS[0]);
    let docs = ScriptedMcp::start(any, McpRevision::Sessions, Some(&wanted)).await.unwrap();
    let url = format!("http://{host}:{}/mcp", docs.port());
    api.set_pipeline("ask", &pipeline(&url)).await;
    let build = api.trigger("ask", "ask").await;
    let log = api.succeeded(build).await;
    let transcript = agents::transcript(api, build).await;
    let results = results(&transcript);
    let said = |text: &str, outcome: &str| (outcome.to_owned(), text.to_owned());
    let died = "the MCP server `db` (sh) ended with status 9: the disk is full";
    assert!(results[0].1.contains("found anchors"), "{results:?}");
    let results: Vec<_> = results.into_iter().map(|(o, text)| (o, last(&text))).collect();
    assert_eq!(results[1], said("you sent Bearer ((redacted))", "ok"));
    assert_eq!(results[2].0, "denied");
    assert_eq!(results[3], said("rows of users", "ok"));
    assert_eq!(results[4], said("you gave me ((redacted))", "ok"));
    assert_eq!(results[5].0, "denied");
    assert_eq!(results[6], said("0", "ok"));
    assert_eq!(results[7], said(died, "failed"));
    assert_eq!(results[8], said(&format!("{died}; it is not started again"), "failed"));
    assert_eq!(docs.called(), ["search", "whoami"]);
    let server: Vec<&Value> = transcript.iter().filter(|e| e["source"] == "server").collect();
    assert_eq!(server[0]["text"], "serving ((redacted))");
    assert!(log.contains("[db] the disk is full") && log.contains("`db` ended with status 9"));
    let asked: Vec<_> = model.received().iter().map(|request| request.body.to_string()).collect();
    for token in TOKENS {
        assert!(!format!("{log}{transcript:?}{asked:?}").contains(token));
    }
}

/// Outcome and text of each call.
fn results(transcript: &[Value]) -> Vec<(String, String)> {
    let results = transcript.iter().filter(|entry| entry["type"] == "tool_result");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    results.map(|entry| (text(&entry["outcome"]), text(&entry["text"]))).collect()
}

fn last(text: &str) -> String {
    text.trim().lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_servers_are_called_through_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(script()).await;
    let Some(server) = agents::server(dir.path(), &model).await else { return };
    let api = server.login().await;
    ask_both(&api, &model, agents::host(&api).await).await;
}

/// What an image with the server as `/bin/NAME` has beside a shell.
pub fn server_layer(name: &str) -> Layer {
    let program = format!("#!/bin/sh\n{MCP_PROGRAM}");
    let layer = Layer::new().bytes(&format!("bin/{name}"), program.as_bytes(), 0o755, 0);
    layer.symlink("bin/sed", "busybox").symlink("bin/expr", "busybox")
}

/// The example whose agent looks things up: a host by name, and servers in images that a registry has.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_looks_up_what_a_host_and_servers_in_their_images_know() {
    let script = agents::example("answer.model.yml").replace("docs.example.com", HOST);
    let model = agents::model(agents::parsed(&script)).await;
    let dir = tempfile::tempdir().unwrap();
    let private = format!("{HOST}=10.0.0.0/8");
    let flags = ["--agent-private-hosts", private.as_str()];
    let Some(server) = agents::server_with(dir.path(), &model, &flags).await else { return };
    let api = server.login().await;
    let address = agents::host(&api).await;
    if address.is_loopback() {
        eprintln!("SKIPPED: containers have this machine's own network");
        return;
    }
    let Some(registry) = Registry::start_at(address, false) else { return };
    let Some(_host) = host_at(address).await else { return };
    let options = jb_oci::Options { insecure: true, ..jb_oci::Options::default() };
    let to = jb_oci::Registry::connect(&registry.host(), options).await.unwrap();
    let mut pipeline = agents::example("answer.yml")
        .replace("docs.example.com", HOST)
        .replace("((question))", "Why does it greet?")
        .replace("((tickets_token))", "((vs:pg.token))");
    pipeline.push_str(VAR_SOURCES);
    for name in ["wiki", "tickets"] {
        let contents = Contents::default();
        contents.image(&[&shell().done(), &server_layer(&format!("{name}-mcp")).done()]);
        contents.push(&to, name, "latest").await;
        let image = format!("{}, insecure: true", registry.name(name));
        pipeline = pipeline.replace(&format!("(({name}_image))"), &image);
    }
    api.set_pipeline("answer", &pipeline).await;
    let build = api.trigger("answer", "answer").await;
    let log = api.succeeded(build).await;
    assert!(
        log.contains(&format!("this is {HOST}")) && log.contains("It is in ticket 7."),
        "{log}"
    );
    let transcript = agents::transcript(&api, build).await;
    let made: Vec<String> = connections(&transcript)
        .into_iter()
        .map(|[outcome, host, _]| format!("{outcome} {host}"))
        .collect();
    assert_eq!(made, [format!("allowed {HOST}:443"), "denied elsewhere.example.com:443".into()]);
    let told: Vec<String> =
        results(&transcript).iter().map(|(_, text)| last(text)).skip(2).collect();
    let rows = "rows of greetings";
    assert_eq!(told, [rows, rows, "you gave me ((redacted))"]);
}

/// The one process goes on meanwhile, and counts on.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_serves_on_while_the_server_is_dead() {
    const SCRIPT: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: db__count, input: {}}]}}}
- {times: 1, reply: {say: {text: I wait., tools: [{name: shell, input: {argv: [sh, -c, "until test -e out/go; do sleep 0.05; done"]}}]}}}
- {times: 1, reply: {say: {tools: [{name: db__count, input: {}}]}}}
- {reply: {say: {text: Two.}}}
"#;
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(SCRIPT)).await;
    let Some(mut server) = agents::server(dir.path(), &model).await else { return };
    let api = server.login().await;
    let both = pipeline("x");
    let db: Vec<&str> = both.lines().filter(|line| !line.contains("name: docs")).collect();
    api.set_pipeline("ask", &db.join("\n")).await;
    let build = api.trigger("ask", "ask").await;
    api.events_until(build, None, |text| text.contains("I wait.")).await;
    server.kill();
    agents::write_outputs(&server, "go");
    crate::server::until("the agent asks again", async || {
        (model.received().len() == 4).then_some(())
    })
    .await;
    server.start_again().await;
    let api = server.login().await;
    api.succeeded(build).await;
    let transcript = agents::transcript(&api, build).await;
    let counts: Vec<String> =
        results(&transcript).iter().map(|(_, text)| last(text)).filter(|t| !t.is_empty()).collect();
    assert_eq!((counts.first().unwrap().as_str(), counts.last().unwrap().as_str()), ("1", "2"));
    let said = transcript.iter().filter(|entry| entry["source"] == "server").count();
    assert_eq!(said, 1);
}
