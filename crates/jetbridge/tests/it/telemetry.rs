//! Agents and approvals in traces, metrics and accounts.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use crate::agents::{self, KEY};
use crate::metrics::{Scrape, served};
use crate::server::{free_port, until};
use crate::traces::{Collector, sent_to, texts};

const PIPELINE: &str = r#"
jobs:
- name: review
  plan:
  - agent: look
    prompt: Look at what nobody shall read in a trace.
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["echo *"]}]
    verdict: {from: verdict, pass: [approve], fail: [reject]}
  - approve: release
- name: spent
  plan:
  - {agent: talk, prompt: Talk., config: {platform: linux}, tools: [{shell: ["echo *"]}], budget: {turns: 1}}
"#;

const SCRIPT: &str = r#"
rules:
- when: {last: Talk}
  reply: {say: {tools: [{name: shell, input: {argv: [echo, hm]}}]}}
- {times: 1, reply: {error: {status: 529, kind: overloaded_error, message: later, retry_after: 0}}}
- times: 1
  reply:
    say:
      text: I look.
      usage: {input_tokens: 70, output_tokens: 10, cache_read_input_tokens: 30}
      tools:
      - {name: shell, input: {argv: [echo, hidden]}}
      - {name: shell, input: {argv: [rm, out]}}
- {reply: {say: {tools: [{name: submit_result, input: {verdict: approve, reason: it is well}}]}}}
"#;

/// The OpenTelemetry Collector, which passes on what it is sent.
struct OpenTelemetryCollector {
    process: Child,
    address: String,
}

impl OpenTelemetryCollector {
    /// One that passes on to an address, when its program is here.
    async fn start(dir: &Path, to: &str) -> Option<Self> {
        const PROGRAM: &str = "JETBRIDGE_TEST_COLLECTOR";
        let Some(program) = std::env::var_os(PROGRAM) else {
            eprintln!("SKIPPED: traces by way of a collector, as {PROGRAM} names none");
            return None;
        };
        let address = format!("127.0.0.1:{}", free_port());
        let config = dir.join("collector.yml");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}'}}}}}}}}\n\
             exporters: {{otlp_http: {{endpoint: 'http://{to}', compression: none, headers: {{x-key: sesame}}}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(dir.join("collector.log")).unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).stdin(Stdio::null()).stderr(log);
        let process = command.spawn().unwrap();
        until("the collector listens", async || {
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
        Some(Self { process, address })
    }
}

impl Drop for OpenTelemetryCollector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn count(span: &Span, name: &str) -> i64 {
    let pair = span.attributes.iter().find(|pair| pair.key == name).unwrap();
    match pair.value.as_ref().unwrap().value {
        Some(Any::IntValue(count)) => count,
        ref other => panic!("{name} is {other:?}"),
    }
}

fn assert_traced(spans: &[Span]) {
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (step, agent) = (named("agent")[0], named("invoke_agent look")[0]);
    assert_eq!(step.parent_span_id, named("build")[0].span_id);
    assert_eq!(agent.parent_span_id, step.span_id);
    assert!(step.start_time_unix_nano <= agent.start_time_unix_nano);
    let facts = texts(&agent.attributes);
    assert_eq!(facts["gen_ai.operation.name"], "invoke_agent");
    assert_eq!(facts["gen_ai.provider.name"], "anthropic");
    assert_eq!(facts["gen_ai.agent.name"], "look");
    assert_eq!(count(agent, "gen_ai.usage.input_tokens"), 200);
    assert_eq!(count(agent, "gen_ai.usage.cache_read.input_tokens"), 30);
    let events: Vec<&str> = agent.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["model asked again", "gen_ai.evaluation.result"]);
    let verdict = texts(&agent.events[1].attributes);
    assert_eq!(verdict["gen_ai.evaluation.score.label"], "pass");
    let chats = named("chat scripted");
    assert_eq!(chats.len(), 3);
    assert_eq!(texts(&chats[0].attributes)["error.type"], "529");
    assert!(chats.iter().all(|chat| chat.parent_span_id == agent.span_id && chat.kind == 3));
    assert!(!texts(&chats[1].attributes)["gen_ai.response.id"].is_empty());
    let tools = named("execute_tool shell");
    let errors: Vec<Option<String>> =
        tools.iter().map(|tool| texts(&tool.attributes).get("error.type").cloned()).collect();
    assert_eq!(errors, [None, Some("denied".to_owned())]);
    assert_eq!(named("execute_tool submit_result").len(), 1);
    let asked = named("approve")[0];
    let events: Vec<&str> = asked.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["approval asked", "approved by one", "approval ended"]);
    // Nothing that was said is in them.
    let all = format!("{spans:?}");
    for private in [KEY, "nobody shall read", "hidden", "it is well", "I look."] {
        assert!(!all.contains(private), "{private}");
    }
}

fn assert_measured(scrape: &Scrape) {
    let calls = "gen_ai_client_operation_duration_seconds_count";
    assert_eq!(scrape.sum(calls, &[r#"gen_ai_request_model="scripted""#]), 4.0);
    assert_eq!(scrape.sum(calls, &[r#"error_type="529""#]), 1.0);
    let tokens = "gen_ai_client_token_usage_sum";
    assert_eq!(scrape.sum(tokens, &[r#"gen_ai_token_type="input""#]), 300.0);
    let ended = "gen_ai_invoke_agent_duration_seconds_count";
    assert_eq!(scrape.sum(ended, &[r#"error_type="budget_spent""#]), 1.0);
    assert_eq!(scrape.sum("gen_ai_execute_tool_duration_seconds_count", &[]), 4.0);
    scrape.is(r#"jetbridge_agent_budgets_spent_total{limit_of="turns"}"#, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_do_is_in_traces_metrics_and_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(SCRIPT)).await;
    let (collector, address) = Collector::start().await;
    let between = OpenTelemetryCollector::start(dir.path(), &address).await;
    let address = between.as_ref().map_or(address, |between| between.address.clone());
    let (metrics, url) = served();
    let mut flags: Vec<&str> = metrics.iter().map(String::as_str).collect();
    flags.extend(sent_to(&address));
    let Some(server) = agents::server_with(dir.path(), &model, &flags).await else { return };
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "review").await;
    let approval = crate::approvals::asked(&api, build).await;
    api.put(&format!("/builds/{build}/approvals/{}/approve", approval["id"])).await;
    api.succeeded(build).await;

    assert_traced(&collector.trace_of(build).await);
    let spent = api.trigger("p", "spent").await;
    assert_eq!(api.ended(spent).await.0, "failed");
    let spans = collector.trace_of(spent).await;
    let agent = spans.iter().find(|span| span.name == "invoke_agent talk").unwrap();
    assert_eq!(texts(&agent.attributes)["error.type"], "budget_spent");
    assert_eq!(agent.events[0].name, "budget spent");
    assert_eq!(texts(&agent.events[0].attributes)["limit_of"], "turns");

    assert_measured(&Scrape::of(&url).await);

    // 70 and 100 and 100 tokens in at $3, three times 10 out at $15 for a million; what a cache had costs nothing here.
    let usage = async |path: &str| api.get(path).await["total"].clone();
    let of_build = api.get(&format!("/builds/{build}/agent-usage")).await;
    assert_eq!(of_build["steps"][0]["name"], "look");
    let numbers = |total: &Value| {
        ["turns", "input_tokens", "cache_read_tokens", "cost_micros"].map(|key| total[key].clone())
    };
    assert_eq!(numbers(&of_build["total"]), [2, 170, 30, 810].map(Value::from));
    let of_job = usage("/teams/main/pipelines/p/jobs/review/agent-usage").await;
    assert_eq!(of_job, of_build["total"]);
    let of_team = usage("/teams/main/agent-usage").await;
    assert_eq!(numbers(&of_team), [3, 270, 30, 1_260].map(Value::from));
    let cost = r#"jetbridge_agent_cost_dollars_total{job="review",pipeline="p",team="main"}"#;
    until("the cost is counted", async || {
        let cost = Scrape::of(&url).await.value(cost);
        ((cost - 0.000_810).abs() < 1e-9).then_some(())
    })
    .await;
}
