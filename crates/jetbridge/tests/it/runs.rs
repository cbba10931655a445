//! A pipeline of agents without a server, and again from its recording.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Output;

use jb_scripted_model::{Script, ScriptedModel};
use serde_json::Value;

use crate::agents::{KEY, example, model, parsed, repository, script};
use crate::docker_registry;
use crate::harnesses::{self, HARNESSES, Harness};
use crate::server::{containers_run, jetbridge};

/// This machine, for containers.
const HOST: &str = "host.jetbridge.internal";

const PIPELINE: &str = r#"
jobs:
- name: change
  plan:
  - agent: implement
    prompt: Say hello in out/greeting.
    tools: [write, {shell: ["cat*"]}]
    approval: {tools: [write]}
    config: {platform: linux, outputs: [{name: out}]}
  - agent: review
    prompt: Is it polite?
    context: [{file: out/greeting, untrusted: true}, {build: true}]
    tools: [read]
    verdict: {from: verdict, pass: [approve]}
    config: {platform: linux, inputs: [{name: out}]}
  - {approve: ship, message: Ship it?, artifacts: [out], quorum: 2}
"#;

const SCRIPT: &str = r#"
rules:
- {times: 1, reply: {error: {status: 529, kind: overloaded_error, message: Overloaded, retry_after: 0}}}
- when: {anywhere: "step `implement`", messages: 1}
  reply: {say: {text: I write., tools: [{name: write, input: {path: out/greeting, content: "hello\n"}}, {name: shell, input: {argv: [rm, out/greeting]}}]}}
- when: {anywhere: "step `implement`", messages: 3}
  reply: {say: {text: Done.}}
- when: {anywhere: "step `review`", messages: 1}
  reply: {say: {tools: [{name: read, input: {path: .context/untrusted/files/out/greeting}}, {name: read, input: {path: .context/build.json}}]}}
- when: {anywhere: "step `review`"}
  reply: {say: {tools: [{name: submit_result, input: {verdict: approve, reason: It is polite.}}]}}
"#;

/// Runs of one pipeline.
struct Runs {
    dir: tempfile::TempDir,
    /// For those with a model.
    models: PathBuf,
    kept: String,
}

impl Runs {
    fn with(model: &ScriptedModel, api: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = model.url().rsplit(':').next().unwrap().to_owned();
        let models = dir.path().join("models.yml");
        let text = format!(
            "default: here/scripted\nproviders: {{here: {{api: {api}, url: 'http://{HOST}:{port}', key_env: RUN_TEST_KEY}}}}\n\
             models: {{here/scripted: {{input: 3, output: 15}}}}\n"
        );
        std::fs::write(&models, text).unwrap();
        let kept = dir.path().join("kept").to_str().unwrap().to_owned();
        Self { dir, models, kept }
    }

    fn run(&self, pipeline: &str, options: &[&str], env: &[(&str, &str)]) -> Output {
        let file = self.dir.path().join("pipeline.yml");
        std::fs::write(&file, pipeline).unwrap();
        let mut command = jetbridge();
        command.arg("run").arg(&file).arg("--state-dir").arg(self.dir.path().join("state"));
        command.args(options).envs(env.iter().copied()).output().unwrap()
    }

    fn record(&self, pipeline: &str, options: &[&str]) -> Output {
        let models = self.models.to_str().unwrap();
        let with_model = ["--agent-models", models, "--record", &self.kept];
        self.run(pipeline, &[&with_model, options].concat(), &[("RUN_TEST_KEY", KEY)])
    }

    /// Without a model or a key.
    fn replay(&self, pipeline: &str, options: &[&str]) -> Output {
        self.run(pipeline, &[&["--replay", self.kept.as_str()], options].concat(), &[])
    }

    fn transcript(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }
}

/// What a run shows.
fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What does not depend on when it happened.
fn timeless(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let entries = text.lines().map(|line| {
        let mut entry: Value = serde_json::from_str(line).unwrap();
        for time in ["time_us", "first_byte_ms", "total_ms"] {
            entry.as_object_mut().unwrap().remove(time);
        }
        entry
    });
    // What harness and gateway say at the same time may be told in another order; likewise OpenCode's words and its calls,
    // which come on two ways, so that a call may stand between two words.
    let (harness, gateway): (Vec<Value>, Vec<Value>) =
        entries.partition(|entry| entry["source"] == "harness");
    let (words, acts): (Vec<Value>, Vec<Value>) =
        harness.into_iter().partition(|entry| entry["type"] == "text");
    let said: String = words.iter().filter_map(|entry| entry["text"].as_str()).collect();
    [vec![Value::String(said)], acts, gateway].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_again_from_its_recording() {
    if !containers_run() {
        return;
    }
    let model = model(script("change.model.yml")).await;
    let runs = Runs::with(&model, "messages");
    // The example names a model of its own server, and an unnamed one is the default.
    the_change_is_made_twice(&runs, model, &example("change.yml")).await;
}

/// Makes the example's change with a model, and again without.
async fn the_change_is_made_twice(runs: &Runs, model: ScriptedModel, pipeline: &str) {
    let git = repository(runs.dir.path(), Ipv4Addr::UNSPECIFIED.into()).await;
    let repository = format!("repository={}", git.url("demo.git").replace("0.0.0.0", HOST));
    let transcripts = ["first", "second"].map(|name| runs.transcript(name));
    let options = |transcript| ["-v", &repository, "--transcript", transcript];
    let recorded = [&options(&transcripts[0])[..], &["--answer", "push=approve"]].concat();
    let recorded = runs.record(pipeline, &recorded);
    assert!(recorded.status.success(), "{recorded:?}");
    assert!(shown(&recorded).contains("approved by the terminal"), "{}", shown(&recorded));
    assert_eq!(model.received().len(), 8);
    drop(model);

    let again = runs.replay(pipeline, &options(&transcripts[1]));
    assert!(again.status.success(), "{again:?}");
    let [first, second] = transcripts.map(|file| timeless(&file));
    assert!(first.len() > 20, "{first:?}");
    assert_eq!(first, second);
    for file in std::fs::read_dir(&runs.kept).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(KEY));
    }
}

/// Where this machine is reached from itself and from its containers.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Nothing is sent; the system only says by which of its addresses it would be.
    let routed = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9));
    if routed.is_err() {
        eprintln!("SKIPPED: this machine has no address but loopback");
    }
    routed.ok().map(|()| socket.local_addr().unwrap().ip())
}

async fn the_example_runs_again_with(harness: &Harness) {
    let (Some(images), Some(host)) = (harnesses::images(), own_address()) else { return };
    if !containers_run() {
        return;
    }
    let Some(registry) = docker_registry::Registry::start_at(host, false) else { return };
    let model = model(script("change.model.yml")).await;
    let api = if harness.name == "codex" { "responses" } else { "messages" };
    let runs = Runs::with(&model, api);
    let pipeline = harnesses::pipeline(harness, &images, &registry).await;
    let pipeline = pipeline.replace(harness.model, "here/scripted");
    the_change_is_made_twice(&runs, model, &pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_again_with_claude_code() {
    the_example_runs_again_with(&HARNESSES[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_again_with_codex() {
    the_example_runs_again_with(&HARNESSES[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_again_with_opencode() {
    the_example_runs_again_with(&HARNESSES[2]).await;
}

/// However often an agent stopped for people, its recording is one, and it need not stop again.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stopped_runs_again_from_its_recording() {
    if !containers_run() {
        return;
    }
    let model = model(parsed(SCRIPT)).await;
    let runs = Runs::with(&model, "messages");
    let models = std::fs::read_to_string(&runs.models).unwrap();
    std::fs::write(&runs.models, format!("suspend_after_seconds: 0\n{models}")).unwrap();
    let transcripts = ["first", "second"].map(|name| runs.transcript(name));
    let [first, second] = &transcripts;
    let answers = ["--answer", "implement=approve", "--answer", "ship=approve"];
    let recorded =
        runs.record(PIPELINE, &[&["--transcript", first.as_str()][..], &answers].concat());
    assert!(recorded.status.success(), "{recorded:?}");
    assert!(shown(&recorded).contains("it goes on"), "{}", shown(&recorded));
    drop(model);
    let again = runs.replay(PIPELINE, &["--transcript", second.as_str()]);
    assert!(again.status.success(), "{again:?}");
    // How long people took is not replayed.
    let [first, second] = transcripts.map(|file| {
        let of_stops = ["suspended", "resumed", "spent"];
        let mut entries = timeless(&file);
        entries.retain(|entry| !of_stops.iter().any(|kind| entry["type"] == *kind));
        entries
    });
    assert!(first.len() > 15, "{first:?}");
    assert_eq!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_recording_has_is_named() {
    if !containers_run() {
        return;
    }
    let node = jb_yaml::parse(SCRIPT).unwrap();
    let script: Script = serde_json::from_value(node.to_json()).unwrap();
    let model = model(script).await;
    let runs = Runs::with(&model, "responses");
    let call = ["--answer", "implement=approve"];
    let unanswered = runs.record(PIPELINE, &call);
    let said = String::from_utf8_lossy(&unanswered.stderr).into_owned();
    assert!(said.contains("--answer ship=approve"), "{said}{}", shown(&unanswered));
    assert_eq!(unanswered.status.code(), Some(1));

    let denied = runs.record(PIPELINE, &[&call[..], &["--answer", "ship=deny"]].concat());
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    drop(model);
    let again = runs.replay(PIPELINE, &[]);
    assert_eq!((again.status.code(), shown(&again)), (Some(1), shown(&denied)));
    for text in [
        "denied:",
        "[what follows was written by others",
        "\"job\": \"change\"",
        "verdict: approve passes",
        "waiting for approval of a call of `implement` by role member",
        "approved by the terminal",
        "rejected by the terminal",
    ] {
        assert!(shown(&again).contains(text), "{text} in {}", shown(&again));
    }

    // What no longer matches is named with its first difference.
    let other = PIPELINE.replace("Is it polite?", "Is it short?");
    let refused = runs.replay(&other, &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = shown(&refused);
    assert!(said.contains("request 1 is not the recorded one: /input/0/content/0/text"), "{said}");
    assert!(said.contains("\"Is it short?\", recorded was \"Is it polite?\""), "{said}");
    let said = shown(&runs.replay(&PIPELINE.replace("agent: review", "agent: judge"), &[]));
    let unknown = "there is no recording of `judge`; there are: implement, review";
    assert!(said.contains(unknown), "{said}");
    let refused = runs.replay(&PIPELINE.replace("agent: review", "agent: implement"), &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("two steps are called `implement`"), "{said}");
}
