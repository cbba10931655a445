//! Agent steps: what they leave behind, how they end, and that nothing of theirs is lost or said twice.

use jb_engine::HijackError;
use jb_engine::agents::{Key, Prices, Provider};
use jb_model::{BuildId, BuildStatus, Timestamp};
use jb_runtime::Network;
use jb_runtime::fake::FakeRuntime;
use serde_json::Value;

use crate::server::Server;

const KEY: &str = "sk-secret-key";

pub(crate) const PIPELINE: &str = r#"
prototypes: [{name: agent, type: builtin}]
var_sources:
- {name: vs, type: dummy, config: {vars: {docs: {host: docs.example, token: d0cs-t0ken}, nowhere: "ftp://x"}}}
resource_types:
- {name: boxed, type: mock, check_every: never, source: {mirror_self: true}, defaults: {create_files: {rootfs/db: "x", metadata.json: "{\"env\": [\"FROM=image\"]}"}}}
resources:
- {name: src, type: mock, check_every: never, source: {initial_version: v1, create_files: {a: "A", prompt.md: "read src/a", schema.yml: "type: object\nproperties: {v: {type: string}}\n", list.yml: "type: array\n"}}}
- {name: img, type: mock, check_every: never, source: {initial_version: v1, create_files: {rootfs/wiki: "x", metadata.json: "{\"env\": [\"A=b\"]}"}}}
jobs:
- name: change
  plan:
  - {get: src}
  - agent: implement
    prompt: |
      text I change it.
      read src/a
      call edit
      write changed/b B
      result {"verdict": "approve", "summary": "all well"}
    config: {platform: linux, inputs: [{name: src}], outputs: [{name: changed}], params: {P: x}}
    tools: [read, edit]
    result: {schema: {type: object}}
    verdict: {from: verdict, pass: [approve]}
  - task: use
    config:
      platform: linux
      inputs: [{name: changed}, {name: implement}]
      run: {path: sh, args: [-c, 'cat changed/b implement/result.json; echo ((.:implement.summary))']}
- name: prototype
  plan:
  - {get: src}
  - run: implement
    type: agent
    params: {prompt_file: src/prompt.md, config: {platform: linux, inputs: [{name: src}]}}
- name: rejected
  plan:
  - agent: review
    prompt: |
      result {"verdict": "reject"}
    config: {platform: linux}
    verdict: {from: verdict, pass: [approve], fail: [reject]}
    on_failure: {task: told, config: {platform: linux, inputs: [{name: review}], run: {path: cat, args: [review/result.json]}}}
- name: inconclusive
  plan: [{agent: review, prompt: text I approve, config: {platform: linux}, verdict: {from: verdict, pass: [approve]}}]
- name: trouble
  plan: [{agent: a, prompt: fail model_failed the model did not answer, config: {platform: linux}}]
- name: spent
  plan: [{agent: a, prompt: "fail budget_spent the budget is spent: 3 of 3 turns", config: {platform: linux}}]
- name: killed
  plan: [{agent: a, prompt: "text hm\nexit 137", config: {platform: linux}}]
- name: garbage
  plan: [{agent: a, prompt: "raw <html>\nraw {\"type\": \"new\", \"time_us\": 1}\ntext on", config: {platform: linux}}]
- name: model
  plan: [{agent: a, model: anthropic/other, prompt: text x, config: {platform: linux}}]
- name: driven
  plan: [{agent: a, harness: claude-code, prompt: text x, config: {platform: linux}}]
- name: mute
  plan: [{agent: a, harness: codex, prompt: text x, config: {platform: linux}}]
- name: filed
  plan:
  - {get: src}
  - agent: a
    prompt: |
      result {"v": "from a file"}
    config: {platform: linux}
    result: {schema_file: src/schema.yml}
  - {task: t, config: {platform: linux, run: {path: echo, args: [((.:a.v))]}}}
- name: schema
  plan: [{get: src}, {agent: a, prompt: text x, config: {platform: linux}, result: {schema_file: src/list.yml}}]
- name: missing
  plan: [{get: src}, {agent: a, prompt_file: src/none.md, config: {platform: linux}}]
- name: context
  plan:
  - {get: src}
  - {load_var: release, file: src/a, format: raw}
  - agent: a
    prompt: |
      read .context/manifest.json
      read .context/untrusted/files/src/prompt.md
      read .context/vars-2.json
      read .context/build.json
    config: {platform: linux}
    context: [{file: src/prompt.md, untrusted: true}, {build: true}, {vars: [release]}]
- name: unknown-context
  plan: [{agent: a, prompt: text x, config: {platform: linux}, context: [{vars: [none]}]}]
- name: servers
  plan:
  - agent: a
    prompt: "told mcp\ntext is it d0cs-t0ken?"
    config: {platform: linux}
    mcp: [{name: docs, url: "https://((vs:docs.host))/mcp", tools: [search], headers: {authorization: "Bearer ((vs:docs.token))"}}]
- name: programs
  plan:
  - {get: img}
  - agent: a
    prompt: "told mcp\ntext is it d0cs-t0ken?\nsleep x\ntext two"
    config: {platform: linux, params: {OWN: x}}
    mcp:
    - {name: db, command: [pg-mcp, "--host=((vs:docs.host))"], tools: [query], params: {PGPASSWORD: ((vs:docs.token))}}
    - {name: wiki, command: [wiki], tools: [read], image: img}
    - {name: weak, command: ["false"], tools: [read]}
- name: fetched
  plan:
  - agent: a
    prompt: "text it works\nsleep x"
    config: {platform: linux, image_resource: {type: mock, source: {initial_version: own, create_files: {rootfs/own: "x"}}}}
    mcp:
    - {name: db, command: [pg-mcp], tools: [query], image_resource: {type: boxed, source: {initial_version: "((vs:docs.host))"}}, params: {A: b}}
    - {name: wiki, command: [wiki], tools: [read], image_resource: {type: mock, source: {create_files: {rootfs/wiki: "x"}}, version: {version: pinned}}}
- name: unfetched
  plan: [{agent: a, prompt: text x, config: {platform: linux}, mcp: [{name: db, command: [x], tools: [query], image_resource: {type: mock, source: {check_failure: no such image}}}]}]
- name: no-image
  plan: [{agent: a, prompt: text x, config: {platform: linux}, mcp: [{name: db, command: [x], tools: [query], image: none}]}]
- name: deaf
  plan: [{agent: a, prompt: "text x\nsleep for-ever", config: {platform: linux}, mcp: [{name: db, command: [deaf], tools: [query]}, {name: wiki, command: [wiki], tools: [read]}]}]
- name: no-server
  plan: [{agent: a, prompt: text x, config: {platform: linux}, mcp: [{name: docs, url: ((vs:nowhere)), tools: [search]}]}]
- name: hosts
  plan: [{agent: a, prompt: "told network\nsleep x", config: {platform: linux}, network: [crates.io]}]
- name: full
  plan: [{agent: a, prompt: "told network\nsleep y", config: {platform: linux}, network: full}]
- name: secret
  plan: [{agent: a, prompt: "text the key is sk-secret-key\ntext 736b2d7365637265742d6b6579 or c2stc2VjcmV0LWtleQ== or eHNrLXNlY3JldC1rZXk=\nraw no json: sk-secret-key\nresult {\"k\": \"sk-secret-key\"}", config: {platform: linux}}]
- name: slow
  plan: [{agent: a, prompt: "text one\nsleep x\ntext two", config: {platform: linux}}]
- name: late
  plan: [{agent: a, prompt: "sleep x", config: {platform: linux}, budget: {time: 1ms}}]
- name: overdue
  plan: [{agent: a, prompt: "sleep x", config: {platform: linux}, timeout: 1ms}]
"#;

/// Lets agents use the model `anthropic/m`, which is the default.
pub(crate) fn allow(server: &mut Server) {
    let provider = Provider {
        api: Default::default(),
        url: "http://model".to_owned(),
        key: Some(Key(KEY.to_owned())),
    };
    server.agents.providers.insert("anthropic".to_owned(), provider);
    server.agents.models.insert("anthropic/m".to_owned(), Prices::default());
    server.agents.default_model = Some("anthropic/m".to_owned());
}

pub(crate) async fn server() -> Server {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    allow(&mut server);
    server.start(None);
    server
}

pub(crate) async fn transcript(server: &Server, build: BuildId) -> Vec<Value> {
    let entries = server.store.transcript(build, 0, 1 << 20).await.unwrap();
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, number as u64);
    }
    entries.iter().map(|entry| serde_json::from_str(&entry.json).unwrap()).collect()
}

pub(crate) fn types(transcript: &[Value], source: &str) -> Vec<String> {
    let of = transcript.iter().filter(|entry| entry["source"] == source);
    of.map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_harness_of_others_is_driven_if_it_speaks_to_the_model() {
    let server = server().await;
    let (build, status) = server.run("driven").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    let transcript = transcript(&server, build).await;
    let start = transcript.iter().find(|entry| entry["type"] == "start").unwrap();
    assert_eq!(start["harness"], "claude-code");
    let (build, status) = server.run("mute").await;
    assert_eq!(status, BuildStatus::Errored);
    let said = "the harness `codex` speaks to models by responses, and `anthropic/m` is spoken to by messages: \
                name another model or harness";
    assert_eq!(server.errors(build).await, [said]);
}

#[tokio::test]
async fn an_agent_leaves_files_a_result_and_a_transcript() {
    let server = server().await;
    let (build, status) = server.run("change").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    let log = server.log(build).await;
    for said in [
        "I change it.\n",
        "A\n",
        "> edit",
        "verdict: approve passes\n",
        "1 turns, 110 tokens, $0.0004",
    ] {
        assert!(log.contains(said), "{said} in {log}");
    }
    assert!(log.ends_with("}\r\nall well\r\n"), "{log}");
    let transcript = transcript(&server, build).await;
    assert_eq!(types(&transcript, "harness"), ["start", "text", "text", "tool_call", "end"]);
    assert_eq!(types(&transcript, "gateway"), ["model_call", "spent"]);
    for entry in &transcript {
        assert_eq!(entry["agent"], "implement");
        assert!(!entry["origin"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_agent_is_alone_with_its_gateway_that_nobody_enters() {
    let server = server().await;
    let build = server.trigger("slow").await;
    server.logged(build, "one\n").await;
    let agent = server.container(build, "a").await;
    let gateway = server.container(build, "a/gateway").await;
    let spec = |handle| server.fake.spec(handle).unwrap();
    let (inside, outside) = (spec(&agent), spec(&gateway));
    assert_eq!((inside.network, inside.privileged), (Network::Hermetic, false));
    assert_eq!(outside.network, Network::Outbound);
    assert!(!format!("{inside:?}{outside:?}").contains(KEY));
    assert!(server.engine().hijack(&agent).await.is_ok());
    let refused = server.engine().hijack(&gateway).await;
    assert!(matches!(refused, Err(HijackError::NotFound)));
    server.fake.release("x");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
}

#[tokio::test]
async fn both_spellings_run() {
    let server = server().await;
    let (build, status) = server.run("filed").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    assert!(server.log(build).await.ends_with("from a file\r\n"));
    let (build, status) = server.run("prototype").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    assert!(server.log(build).await.contains("A\n"));
}

#[tokio::test]
async fn the_verdict_decides() {
    let server = server().await;
    let (build, status) = server.run("rejected").await;
    assert_eq!(status, BuildStatus::Failed);
    let log = server.log(build).await;
    assert!(
        log.contains("verdict: reject fails\n") && log.contains("\"verdict\": \"reject\""),
        "{log}"
    );
    let (build, status) = server.run("inconclusive").await;
    assert_eq!(status, BuildStatus::Failed);
    assert!(server.log(build).await.contains("verdict: none is inconclusive\n"));
}

#[tokio::test]
async fn what_went_wrong_is_said_in_one_line() {
    let server = server().await;
    let errored = [
        ("trouble", "the model did not answer"),
        ("killed", "the agent ended with status 137 and no last word: jb-agent: it broke"),
        (
            "model",
            "the model `anthropic/other` may not be used on this server; allowed: anthropic/m",
        ),
        ("schema", "the result's schema src/list.yml: the schema of a result has `type: object`"),
        ("unknown-context", "there is no var `none`"),
        (
            "deaf",
            "the MCP server `db` cannot be started: jb-agent: listen at nowhere: no such directory",
        ),
        ("no-server", "the MCP server's address '((redacted))' is not one of https or http"),
        ("no-image", "missing image artifact source: none: no step made it"),
        ("missing", "file 'none.md' not found within artifact 'src'"),
    ];
    for (job, expected) in errored {
        let (build, status) = server.run(job).await;
        assert_eq!(status, BuildStatus::Errored, "{job}");
        assert_eq!(server.errors(build).await, [expected]);
    }
    let (build, status) = server.run("spent").await;
    assert_eq!(status, BuildStatus::Failed);
    assert!(server.log(build).await.contains("the budget is spent: 3 of 3 turns"));
    let (build, status) = server.run("late").await;
    assert_eq!(status, BuildStatus::Failed);
    assert_eq!(server.errors(build).await, ["the budget is spent: 1ms of time"]);
    let (build, status) = server.run("overdue").await;
    assert_eq!(status, BuildStatus::Failed);
    assert_eq!(server.errors(build).await, ["timeout exceeded"]);
}

#[tokio::test]
async fn a_broken_gateway_ends_the_step() {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    allow(&mut server);
    server.agents.providers.get_mut("anthropic").unwrap().url = "broken".to_owned();
    server.start(None);
    let (build, status) = server.run("late").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(server.errors(build).await, ["the agent's gateway: jb-agent: no way out"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_shown_and_what_is_new_is_kept() {
    let server = server().await;
    let (build, status) = server.run("garbage").await;
    assert_eq!(status, BuildStatus::Succeeded);
    let log = server.log(build).await;
    assert!(log.contains("<html>\n") && log.contains("on\n"), "{log}");
    let transcript = transcript(&server, build).await;
    assert_eq!(types(&transcript, "harness"), ["start", "new", "text", "end"]);
}

#[tokio::test]
async fn the_key_is_in_no_log_and_no_transcript() {
    let server = server().await;
    let (build, _) = server.run("secret").await;
    let log = server.log(build).await;
    let transcript = format!("{:?}", transcript(&server, build).await);
    assert!(!log.contains(KEY) && !transcript.contains(KEY));
    for written in ["736b2d", "c2stc2VjcmV0", "LXNlY3JldC1r"] {
        assert!(!log.contains(written) && !transcript.contains(written), "{written}");
    }
    assert_eq!(log.matches("((redacted))").count(), 6, "{log}");
}

#[tokio::test]
async fn only_the_gateway_is_told_where_mcp_servers_are_and_what_they_are_sent() {
    let server = server().await;
    let (build, status) = server.run("servers").await;
    assert_eq!(status, BuildStatus::Succeeded, "{}", server.log(build).await);
    let transcript = transcript(&server, build).await;
    let said = |source: &str| {
        let of = transcript.iter().filter(|e| e["source"] == source && e["type"] == "text");
        of.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let harness = r#"[{"server":"docs","tools":["search"]}]"#;
    assert_eq!(said("harness"), [harness, "is it ((redacted))?"]);
    let gateway = r#"{"kind":"http","headers":{"authorization":"Bearer ((redacted))"},"name":"docs","tools":["search"],"url":"https://((redacted))/mcp"}"#;
    let told: Value = serde_json::from_str(&said("gateway")[0]).unwrap();
    assert_eq!(told, serde_json::from_str::<Value>(gateway).unwrap());
    assert!(!server.log(build).await.contains("d0cs-t0ken"));
}

/// The agent's container has a network only where its step says so.
#[tokio::test]
async fn an_agent_reaches_what_its_step_says() {
    let server = server().await;
    for (job, network, told) in [
        (
            "hosts",
            Network::Hermetic,
            r#"{"hosts":["crates.io"],"listen":"127.0.0.1:3128","reach":"hosts"}"#,
        ),
        ("full", Network::Outbound, r#"{"reach":"full"}"#),
    ] {
        let build = server.trigger(job).await;
        server.logged(build, "reach").await;
        let agent = server.container(build, "a").await;
        assert_eq!(server.fake.spec(&agent).unwrap().network, network, "{job}");
        server.fake.release(if job == "hosts" { "x" } else { "y" });
        assert_eq!(server.ended(build).await, BuildStatus::Succeeded, "{job}");
        let said = transcript(&server, build).await;
        assert!(said.iter().any(|entry| entry["text"] == told), "{said:?}");
    }
}

/// Whether it is aborted as it works, or while the server is away, so that it is over before it is found again.
#[tokio::test]
async fn an_aborted_agent_takes_its_gateway_and_servers_with_it() {
    for away in [false, true] {
        let mut server = server().await;
        let build = server.trigger("programs").await;
        server.logged(build, "is it ((redacted))?").await;
        if away {
            server.crash().await;
            server.store.abort_build(build, Timestamp(1)).await.unwrap();
            server.start(None);
        } else {
            server.engine().abort(build, false).await.unwrap();
        }
        assert_eq!(server.ended(build).await, BuildStatus::Aborted, "away: {away}");
    }
}

#[tokio::test]
async fn what_an_agent_is_given_to_know_are_files() {
    let server = server().await;
    let (build, status) = server.run("context").await;
    assert_eq!(status, BuildStatus::Succeeded, "{}", server.log(build).await);
    let transcript = transcript(&server, build).await;
    let texts = transcript.iter().filter(|entry| entry["type"] == "text");
    let texts: Vec<&str> = texts.map(|entry| entry["text"].as_str().unwrap()).collect();
    let json = |index: usize| serde_json::from_str::<Value>(texts[index]).unwrap();
    let items = &json(0)["items"];
    assert_eq!(items[0]["path"], ".context/untrusted/files/src/prompt.md");
    assert_eq!((&items[0]["untrusted"], &items[1]["untrusted"]), (&true.into(), &false.into()));
    assert_eq!(texts[1], "read src/a");
    assert_eq!(json(2)["release"], "A");
    let about = json(3);
    assert_eq!((&about["job"], &about["inputs"][0]["name"]), (&"context".into(), &"src".into()));
}

#[tokio::test]
async fn a_server_that_dies_in_mid_turn_goes_on_where_it_was() {
    let mut server = server().await;
    let build = server.trigger("slow").await;
    server.logged(build, "one\n").await;
    server.crash().await;
    server.fake.release("x");
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let transcript = transcript(&server, build).await;
    assert_eq!(types(&transcript, "harness"), ["start", "text", "text", "end"]);
    assert_eq!(types(&transcript, "gateway"), ["model_call", "spent"]);
    let log = server.log(build).await;
    assert_eq!((log.matches("one\n").count(), log.matches("two\n").count()), (1, 1), "{log}");
}
