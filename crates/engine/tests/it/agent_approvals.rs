//! Calls of agents' tools that wait for people.

use std::time::Duration;

use jb_engine::gc::Collector;
use jb_engine::gc::decide::GraceSettings;
use jb_model::approval::ApprovalStatus;
use jb_model::{BuildId, BuildStatus};
use jb_runtime::fake::FakeRuntime;
use jb_store::{ApprovalRecord, Visible};

use crate::agents::allow;
use crate::server::Server;

const PIPELINE: &str = r#"
var_sources: [{name: vs, type: dummy, config: {vars: {secret: sesame}}}]
jobs:
- name: push
  plan:
  - agent: a
    prompt: |
      ask a1 git push ((vs:secret))
      answer a1
      text pushed
    config: {platform: linux}
    tools: [{shell: ["git *"]}]
    approval: &asked {tools: [{shell: ["git push*"]}], users: ["local:ann"], quorum: 1, timeout: 168h}
    on_abort: {task: t, config: {platform: linux, run: {path: echo, args: [hook]}}}
- name: both
  plan:
  - agent: a
    prompt: |
      ask a1 git push one
      ask a2 git push two
      answer a2
      answer a1
    config: {platform: linux}
    tools: [{shell: ["git *"]}]
    approval: *asked
- name: timed
  plan:
  - agent: a
    prompt: |
      ask a1 git push one
      answer a1
      text on
      sleep x
    config: {platform: linux}
    tools: [{shell: ["git *"]}]
    budget: {time: 10m}
    approval: *asked
- name: late
  plan:
  - agent: a
    prompt: |
      ask a1 git push one
      answer a1
      text on
      sleep y
    config: {platform: linux}
    tools: [{shell: ["git *"]}]
    budget: {time: 10m}
    approval: *asked
- name: parked
  plan:
  - agent: a
    prompt: |
      write out/x one
      ask a1 git push one
      suspend a1
      answer a1
      read out/x
      write out/x two
      ask a2 git push two
      suspend a2
      answer a2
      read out/x
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["git *"]}]
    mcp: [{name: db, command: [pg-mcp], tools: [query]}]
    budget: {time: 10m}
    approval: *asked
    on_abort: &left {task: t, config: {platform: linux, inputs: [{name: out}], run: {path: sh, args: [-c, 'cat out/x']}}}
  - *left
- name: killed
  plan:
  - {agent: a, prompt: "ask a1 git push\nexit 3", config: {platform: linux}, tools: [{shell: ["git *"]}], approval: *asked}
"#;

const HOUR: Duration = Duration::from_secs(3600);

async fn server() -> Server {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    allow(&mut server);
    server.start(None);
    server
}

pub(crate) async fn of_call(server: &Server, build: BuildId, call: &str) -> ApprovalRecord {
    let asked = async || {
        let asked = server.store.approvals_of_build(build).await.unwrap();
        asked.into_iter().find(|asked| asked.call == call)
    };
    server.until("the question", asked).await
}

#[tokio::test]
async fn a_call_waits_for_those_who_may_decide() {
    let server = server().await;
    let build = server.trigger("push").await;
    let asked = of_call(&server, build, "a1").await;
    assert_eq!((asked.name.as_str(), asked.quorum), ("a", 1));
    assert_eq!(asked.message, "git push \"((redacted))\"");
    assert_eq!(asked.approvers.to_string(), "user local:ann");
    assert_eq!(server.store.waiting_approvals(&Visible::All, 9).await.unwrap().len(), 1);
    server.answer(&asked, "ann", true).await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let log = server.log(build).await;
    let question = format!(
        "waiting for approval of a call of `a` by user local:ann, for 168h\n  git push \"((redacted))\"\n\
         answer with `jetbridge approve {0}` or `jetbridge deny {0}`\n",
        asked.id
    );
    assert!(log.contains(&question), "{log}");
    assert!(log.contains("approved by ann: looked at it\npushed\n"), "{log}");
}

#[tokio::test]
async fn what_is_denied_is_the_agents_to_go_on_from() {
    let server = server().await;
    let build = server.trigger("push").await;
    let asked = of_call(&server, build, "a1").await;
    server.answer(&asked, "ann", false).await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert!(server.log(build).await.contains("denied by ann: looked at it\npushed\n"));
}

#[tokio::test]
async fn several_calls_wait_each_for_its_own_answer() {
    let server = server().await;
    let build = server.trigger("both").await;
    let (one, two) = (of_call(&server, build, "a1").await, of_call(&server, build, "a2").await);
    assert_eq!((one.message.as_str(), two.message.as_str()), ("git push one", "git push two"));
    server.answer(&two, "ann", false).await;
    server.logged(build, "denied by ann").await;
    server.answer(&one, "ann", true).await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let log = server.log(build).await;
    assert_eq!(log.matches("waiting for approval").count(), 2, "{log}");
}

#[tokio::test]
async fn a_call_waits_over_deaths_of_the_server() {
    let mut server = server().await;
    let build = server.trigger("both").await;
    let (one, two) = (of_call(&server, build, "a1").await, of_call(&server, build, "a2").await);
    server.answer(&two, "ann", true).await;
    server.logged(build, "approved by ann").await;
    for _ in 0..2 {
        server.crash().await;
        server.advance(24 * HOUR);
        server.start(None);
    }
    server.crash().await;
    // Answered while no server is there to see it.
    server.answer(&one, "ann", true).await;
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let log = server.log(build).await;
    assert_eq!(log.matches("waiting for approval").count(), 2, "{log}");
    assert_eq!(log.matches("approved by ann").count(), 2, "{log}");
}

#[tokio::test]
async fn a_call_that_nobody_decides_about_aborts_the_step() {
    let mut server = server().await;
    let build = server.trigger("push").await;
    let asked = of_call(&server, build, "a1").await;
    server.crash().await;
    server.advance(7 * 24 * HOUR);
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(of_call(&server, build, "a1").await.status, ApprovalStatus::Expired);
    let log = server.log(build).await.replace('\r', "");
    let said = format!("approval {} expired: nobody decided about the call\nhook\n", asked.id);
    assert!(log.ends_with(&said), "{log}");
    assert!(!log.contains("pushed"), "{log}");
}

#[tokio::test]
async fn waiting_for_people_costs_no_time() {
    let mut server = server().await;
    let build = server.trigger("timed").await;
    let asked = of_call(&server, build, "a1").await;
    server.crash().await;
    server.advance(2 * HOUR);
    server.start(None);
    server.answer(&asked, "ann", true).await;
    server.logged(build, "on\n").await;
    server.crash().await;
    server.advance(HOUR / 12);
    server.start(None);
    server.fake.release("x");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);

    let build = server.trigger("late").await;
    let asked = of_call(&server, build, "a1").await;
    server.answer(&asked, "ann", true).await;
    server.logged(build, "on\n").await;
    server.crash().await;
    server.advance(HOUR / 6);
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Failed);
    assert_eq!(server.errors(build).await, ["the budget is spent: 10m of time"]);
}

#[tokio::test]
async fn questions_go_with_their_agent_and_their_build() {
    let server = server().await;
    let (build, status) = server.run("killed").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(of_call(&server, build, "a1").await.status, ApprovalStatus::Withdrawn);

    let build = server.trigger("push").await;
    of_call(&server, build, "a1").await;
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(of_call(&server, build, "a1").await.status, ApprovalStatus::Withdrawn);
}

/// Collects garbage as a server does that has run for long.
async fn collect(server: &Server) {
    let places = server.engine().places.clone();
    let collector = Collector::new(server.store.clone(), places, GraceSettings::default());
    for _ in 0..2 {
        collector.run_once(server.now()).await;
        server.advance(24 * HOUR);
    }
}

async fn types(server: &Server, build: BuildId, source: &str) -> Vec<String> {
    let entries = crate::agents::transcript(server, build).await;
    crate::agents::types(&entries, source)
}

#[tokio::test]
async fn nothing_runs_while_people_take_their_time() {
    let mut server = server().await;
    let build = server.trigger("parked").await;
    for call in ["a1", "a2"] {
        let asked = of_call(&server, build, call).await;
        server.until_nothing_runs(build).await;
        for _ in 0..2 {
            server.crash().await;
            server.start(None);
            // What is kept is kept for as long as they take.
            collect(&server).await;
        }
        assert_eq!(of_call(&server, build, call).await.status, ApprovalStatus::Waiting);
        server.answer(&asked, "ann", true).await;
    }
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded, "{}", server.log(build).await);
    let log = server.log(build).await.replace('\r', "");
    assert!(log.ends_with("two"), "{log}");
    let said = ["one", "approved by ann: looked at it", "3 turns, 110 tokens"];
    assert!(said.iter().all(|said| log.contains(said)), "{log}");
    assert!(!log.contains("the state is another"), "{log}");
    assert_eq!(log.matches("waiting for approval").count(), 2, "{log}");
    let harness = types(&server, build, "harness").await;
    let mut expected = vec!["start", "approval_asked", "suspended"];
    expected.extend(["resumed", "approval_answered", "text", "approval_asked", "suspended"]);
    expected.extend(["resumed", "approval_answered", "text", "end"]);
    assert_eq!(harness, expected);
    let gateway = crate::agents::transcript(&server, build).await;
    let calls = gateway.iter().filter(|entry| entry["type"] == "model_call");
    let numbers: Vec<u64> = calls.map(|entry| entry["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn an_agent_that_stopped_is_not_begun_again_to_be_ended() {
    let mut server = server().await;
    let build = server.trigger("parked").await;
    of_call(&server, build, "a1").await;
    server.until_nothing_runs(build).await;
    let started = server.fake.started().len();
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(of_call(&server, build, "a1").await.status, ApprovalStatus::Withdrawn);
    // What it wrote is there for the step's hooks.
    assert!(server.log(build).await.ends_with("one"), "{}", server.log(build).await);
    assert_eq!(server.fake.started().len(), started + 1);

    let build = server.trigger("parked").await;
    of_call(&server, build, "a1").await;
    server.until_nothing_runs(build).await;
    let started = server.fake.started().len();
    server.crash().await;
    server.advance(7 * 24 * HOUR);
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(of_call(&server, build, "a1").await.status, ApprovalStatus::Expired);
    let log = server.log(build).await;
    assert!(
        log.contains("expired: nobody decided about the call") && log.ends_with("one"),
        "{log}"
    );
    assert_eq!(server.fake.started().len(), started + 1);
}
