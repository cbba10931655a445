//! Tools of MCP servers, as agents have them.

use std::net::{Ipv4Addr, SocketAddr};

use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Entry, mcp};
use jb_scripted_model::{McpRevision, Reply, Script, ScriptedMcp};
use serde_json::{Value, json};

use crate::harness::Harness;
use crate::step::{Ran, Step};

const TOKEN: &str = "d0cs-t0ken";

async fn server(revision: McpRevision) -> ScriptedMcp {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ScriptedMcp::start(any, revision, Some(&format!("Bearer {TOKEN}"))).await.unwrap()
}

/// Grants tools of a server that is called `docs`.
fn grant(step: &mut Step, url: &str, tools: &[&str]) {
    let tools: Vec<String> = tools.iter().map(|&tool| tool.to_owned()).collect();
    step.spec.mcp = vec![mcp::Grant { server: "docs".into(), tools: tools.clone() }];
    let headers = [("authorization".to_owned(), format!("Bearer {TOKEN}"))].into();
    let way = mcp::Way::Http { url: url.into(), headers };
    step.gateway.mcp = vec![mcp::Server { name: "docs".into(), tools, way }];
    step.gateway.redact.push(TOKEN.to_owned());
}

async fn granted(script: Script, server: &ScriptedMcp, tools: &[&str]) -> Step {
    let mut step = Step::new(script).await;
    grant(&mut step, &server.url(), tools);
    step
}

pub(crate) fn results(ran: &Ran) -> Vec<(ToolOutcome, &str)> {
    let results = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::ToolResult { outcome, text, .. } => {
            Some((*outcome, text.lines().last().unwrap_or_default()))
        }
        _ => None,
    });
    results.collect()
}

fn search() -> Reply {
    Reply::tool("docs__search", json!({"query": "anchors"}))
}

#[tokio::test]
async fn every_harness_calls_what_is_granted() {
    for harness in Harness::all() {
        // Which of them it is concerns the gateway alone.
        let revisions: &[McpRevision] = match harness.name() {
            "builtin" => &[McpRevision::Stateless, McpRevision::Sessions],
            _ => &[McpRevision::Stateless],
        };
        for &revision in revisions {
            let server = server(revision).await;
            let script = Script::of([search(), Reply::text("Done.")]);
            let mut step = Step::speaking(harness.api, script).await;
            grant(&mut step, &server.url(), &["search"]);
            let ran = step.run_with(async |spec| harness.run(spec).await).await;
            assert_eq!(ran.ending().0, Ending::Completed, "{harness:?} {:?}", ran.ending());
            let shown = "[an image of type image/png, which is not shown]";
            assert_eq!(results(&ran), [(ToolOutcome::Ok, shown)], "{harness:?}");
            let text = format!("{:?}", ran.transcript);
            assert!(text.contains("found anchors") && text.contains("written by others"), "{text}");
            assert_eq!(server.called(), ["search"]);
            let started = matches!(
                &ran.transcript[0],
                Entry::Start { tools, .. } if tools.last().unwrap() == "docs__search"
            );
            assert!(started, "{:?}", ran.transcript[0]);
        }
    }
}

#[tokio::test]
async fn what_is_not_granted_does_not_exist() {
    let server = server(McpRevision::Stateless).await;
    let script = Script::of([
        Reply::tool("docs__drop", json!({})),
        Reply::tool("other__search", json!({})),
        Reply::text("Then not."),
    ]);
    let step = granted(script, &server, &["search"]).await;
    let socket = step.spec.socket.clone();
    let ran = step
        .run_with(async |spec| {
            // As a program of the agent's could, past our tools.
            let http = reqwest::Client::builder().unix_socket(socket.as_str()).build().unwrap();
            let ask = async |path: &str, body: Value| {
                let answer = http.post(format!("http://gateway{path}")).json(&body).send().await;
                let answer = answer.unwrap();
                (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
            };
            let (status, answer) = ask("/mcp/docs", json!({"name": "drop"})).await;
            assert_eq!((status, &answer["outcome"]), (200, &json!("denied")), "{answer}");
            let (status, answer) = ask("/mcp/other", json!({"name": "search"})).await;
            assert_eq!(status, 403, "{answer}");
            let (output, transcript) = jb_agent::Output::kept();
            jb_agent::builtin::run(spec, Default::default(), output).await;
            transcript.lock().unwrap().clone()
        })
        .await;
    let outcomes: Vec<ToolOutcome> =
        results(&ran).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, [ToolOutcome::Denied; 2]);
    assert_eq!(server.called(), Vec::<String>::new());
    let offered = step.model().received()[0].body["tools"].clone();
    let names: Vec<&Value> = offered.as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["read", "write", "shell", "docs__search"]);
}

#[tokio::test]
async fn credentials_reach_the_server_and_nobody_else() {
    let server = server(McpRevision::Sessions).await;
    let script = Script::of([Reply::tool("docs__whoami", json!({})), Reply::text("Done.")]);
    let step = granted(script, &server, &["whoami"]).await;
    let ran = step.run().await;
    assert_eq!(results(&ran), [(ToolOutcome::Ok, "you sent Bearer ((redacted))")]);
    let received = server.received();
    assert!(received.iter().all(|m| m.headers["authorization"] == format!("Bearer {TOKEN}")));
    let asked: Vec<String> =
        step.model().received().iter().map(|request| request.body.to_string()).collect();
    let told = format!(
        "{:?}{:?}{asked:?}{}{}",
        ran.transcript,
        ran.gateway,
        serde_json::to_string(&step.spec).unwrap(),
        std::fs::read_to_string(step.recording()).unwrap()
    );
    assert!(!told.contains(TOKEN));
}

#[tokio::test]
async fn a_server_that_is_not_as_it_should_be_ends_the_step_in_one_line() {
    let there = server(McpRevision::Stateless).await;
    let away = "http://127.0.0.1:1/mcp".to_owned();
    let nothing = format!("{}/else", there.url());
    let unwanted = server(McpRevision::Sessions).await;
    let cases = [
        (away, "search", "cannot be reached: Connection refused"),
        (there.url(), "serach", "has no tool `serach`; it has: search, drop, whoami"),
        (nothing, "search", "cannot be reached: "),
        (unwanted.url(), "search", "(HTTP 401)"),
    ];
    for (url, tool, expected) in cases {
        let mut step = Step::new(Script::default()).await;
        grant(&mut step, &url, &[tool]);
        let expected_place = format!("the MCP server `docs` at {url} ");
        if url == unwanted.url() {
            step.gateway.mcp[0].way = mcp::Way::Http { url, headers: [].into() };
        }
        let (ending, message, _) = step.run().await.ending();
        assert_eq!(ending, Ending::Failed);
        assert!(message.starts_with(&expected_place), "{message}");
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        assert!(step.model().received().is_empty());
    }
}

#[tokio::test]
async fn what_goes_wrong_is_the_answer_to_the_call() {
    let server = server(McpRevision::Sessions).await;
    let script = Script::of([
        Reply::tool("docs__broken", json!({})),
        Reply::tool("docs__faulty", json!({})),
        Reply::text("Then not."),
    ]);
    let step = granted(script, &server, &["broken", "faulty"]).await;
    let ran = step.run().await;
    assert_eq!(ran.ending().0, Ending::Completed);
    let faulty =
        format!("the MCP server `docs` at {} did not answer: the database is away", server.url());
    let (broken, failed) = ("the index is gone", ToolOutcome::Failed);
    assert_eq!(results(&ran), [(failed, broken), (failed, faulty.as_str())]);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut() {
    let server = server(McpRevision::Stateless).await;
    let script = Script::of([Reply::tool("docs__large", json!({})), Reply::text("Done.")]);
    let step = granted(script, &server, &["large"]).await;
    step.run().await;
    let asked = step.model().received()[1].body.to_string();
    assert!(asked.len() < 64 << 10, "{}", asked.len());
    let recorded = std::fs::read_to_string(step.recording()).unwrap();
    assert!(recorded.len() < 512 << 10, "{}", recorded.len());
}

/// What a server sends is bounded while it is read, whoever of the SDK and us has the bound.
#[tokio::test]
async fn an_answer_without_an_end_is_broken_off() {
    for (revision, expected) in [
        (McpRevision::Stateless, "exceeded the maximum size of 16777216 bytes"),
        (McpRevision::Sessions, "at a message of more than 4194304 bytes"),
    ] {
        let server = server(revision).await;
        let script =
            Script::of([Reply::tool("docs__endless", json!({})), search(), Reply::text("Done.")]);
        let step = granted(script, &server, &["endless", "search"]).await;
        let ran = step.run().await;
        let results = results(&ran);
        assert!(
            results[0].0 == ToolOutcome::Failed && results[0].1.ends_with(expected),
            "{results:?}"
        );
        assert_eq!(results[1].0, ToolOutcome::Ok, "{results:?}");
        assert!(server.endless_bytes() < 64 << 20, "{}", server.endless_bytes());
    }
}

#[tokio::test]
async fn a_step_runs_again_without_its_servers() {
    let server = server(McpRevision::Stateless).await;
    let script = || Script::of([search(), Reply::text("Done.")]);
    let step = granted(script(), &server, &["search"]).await;
    let first = step.run().await;
    drop(server);
    let mut again = crate::recording::again(&step);
    grant(&mut again, "http://127.0.0.1:1/mcp", &["search"]);
    assert_eq!(again.run().await.transcript, first.transcript);
}

#[tokio::test]
async fn a_call_that_was_not_recorded_is_named() {
    let server = server(McpRevision::Stateless).await;
    let step = granted(Script::of([Reply::text("Done.")]), &server, &["search"]).await;
    step.run().await;
    let mut again = crate::recording::again(&step);
    grant(&mut again, &server.url(), &["search"]);
    again.spec.mcp[0].server = "docs".into();
    let recorded = again.dir.path().join("none.jsonl");
    let text = std::fs::read_to_string(step.recording()).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("/mcp/docs")).collect();
    std::fs::write(&recorded, kept.join("\n")).unwrap();
    again.gateway.upstream = jb_agent_protocol::Upstream::Replay {
        api: again.spec.api,
        path: recorded.to_str().unwrap().to_owned(),
    };
    let (ending, message, _) = again.run().await.ending();
    assert_eq!(ending, Ending::Failed);
    let expected = "a call of the MCP server `docs` is not the recorded one: /mcp/docs: /mcp/docs was asked, recorded was /v1/messages";
    assert_eq!(message, expected);
}
