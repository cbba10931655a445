//! The builds that a Concourse 8.2.5 was recorded with, run here: the same events in the same order,
//! and the same plans.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, events_of};
use crate::server::Server;

fn recording(name: &str) -> String {
    let path = format!("{}/tests/recordings/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn recorded_stream(prefix: &str) -> String {
    let dir = format!("{}/tests/recordings", env!("CARGO_MANIFEST_DIR"));
    let mut names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let name = names.find(|name| name.to_string_lossy().starts_with(prefix)).unwrap();
    recording(&name.to_string_lossy())
}

/// Numbers the steps in the order they are seen, as their ids differ from run to run.
#[derive(Default)]
struct Ids(BTreeMap<String, usize>);

impl Ids {
    fn number(&mut self, id: &str) -> String {
        let (step, rest) = id.split_once('/').map_or((id, ""), |(step, rest)| (step, rest));
        let next = self.0.len();
        let number = *self.0.entry(step.to_owned()).or_insert(next);
        if rest.is_empty() { format!("#{number}") } else { format!("#{number}/{rest}") }
    }

    /// What differs from run to run, made equal: ids of steps, times, the worker's name, and whether
    /// something was fetched before.
    fn neutral(&mut self, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.neutral(item)).collect(),
            Value::Object(fields) => {
                let mut neutral = serde_json::Map::new();
                for (name, value) in fields {
                    let value = match (name.as_str(), value) {
                        ("id", Value::String(id)) => json!(self.number(id)),
                        ("time", _) => json!(0),
                        ("selected_worker", _) => json!("worker"),
                        ("payload", Value::String(text)) => json!(fetched(text)),
                        (_, value) => self.neutral(value),
                    };
                    if name != "event_id" {
                        neutral.insert(name.clone(), value);
                    }
                }
                Value::Object(neutral)
            }
            other => other.clone(),
        }
    }
}

fn fetched(text: &str) -> String {
    if text.contains("found existing resource cache") || text.contains("fetching version: ") {
        return "(fetched)".to_owned();
    }
    text.to_owned()
}

/// The events without what differs, one text each. Pieces of one step's output that follow each other
/// are one: where a log is cut is chance.
fn story(stream: &str) -> Vec<String> {
    let mut ids = Ids::default();
    let mut told: Vec<Value> = Vec::new();
    for event in events_of(stream) {
        let event = ids.neutral(&event);
        if let Some(last) = told.last_mut()
            && (last["event"] == "log" && event["event"] == "log")
            && last["data"]["origin"] == event["data"]["origin"]
        {
            let more = event["data"]["payload"].as_str().unwrap();
            let so_far = last["data"]["payload"].as_str().unwrap();
            // How a fetch goes on depends on whether it was needed.
            if so_far != "(fetched)" {
                last["data"]["payload"] = json!(format!("{so_far}{more}"));
            }
            continue;
        }
        told.push(event);
    }
    told.iter().map(Value::to_string).collect()
}

fn assert_same(what: &str, expected: &[String], got: &[String]) {
    for (at, (expected, got)) in expected.iter().zip(got).enumerate() {
        assert_eq!(expected, got, "{what}: event {at}");
    }
    assert_eq!(expected.len(), got.len(), "{what}: {expected:#?}\n{got:#?}");
}

/// Events are numbered without a gap, and the stream ends as recorded.
fn assert_framed(what: &str, stream: &str) {
    let n_events = events_of(stream).len();
    for (at, message) in stream.split_terminator("\n\n").enumerate() {
        let head = format!("id: {at}\nevent: ");
        assert!(message.starts_with(&head), "{what}: message {at}: {message}");
        let rest = &message[head.len()..];
        if at == n_events {
            assert_eq!(rest, "end\ndata", "{what}");
        } else {
            assert!(rest.starts_with("event\ndata: {"), "{what}: {message}");
            assert!(rest.contains(&format!("\"event_id\":\"{at}\"")), "{what}: {message}");
        }
    }
}

async fn compare(api: &Api, recording: &str, build: i64) {
    let stream = api.stream(build).await;
    assert_framed(recording, &stream);
    assert_same(recording, &story(&recorded_stream(recording)), &story(&stream));
}

async fn compare_plan(api: &Api, recorded: u32, build: i64) {
    let text = recording(&format!("plan-build-{recorded}.jsonl"));
    let exchange: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let plan: Value = serde_json::from_str(exchange["response"]["body"].as_str().unwrap()).unwrap();
    let got = api.get(&format!("/builds/{build}/plan")).await;
    let neutral = |plan: &Value| Ids::default().neutral(plan);
    assert_eq!(neutral(&got), neutral(&plan), "plan {recorded}");
}

/// The plan that `fly execute -c task.yml -i in=in -o got=got` sends.
fn one_off(artifact: i64) -> Value {
    json!({"id": "5", "ensure": {
        "step": {"id": "4", "do": [
            {"id": "2", "in_parallel": {"steps": [
                {"id": "1", "artifact_input": {"artifact_id": artifact, "name": "in"}},
            ]}},
            {"id": "3", "task": {"name": "one-off", "privileged": false, "hermetic": false, "config": {
                "platform": "linux",
                "image_resource": {"name": "", "type": "mock", "source": {"mirror_self": true}},
                "params": {"X": "true"},
                "run": {"path": "sh", "args": ["-ec", "cp in/d got/d; ls in"]},
                "inputs": [{"name": "in"}],
                "outputs": [{"name": "got"}],
            }}},
        ]},
        "ensure": {"id": "7", "in_parallel": {"steps": [{"id": "6", "artifact_output": {"name": "got"}}]}},
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_tell_what_they_told_on_concourse() {
    // With checks by the clock out of the way, each image is checked when the recording checked it.
    let Some(server) = Server::with(&["--resource-checking-interval", "1h"]).await else { return };
    let api = server.login().await;
    let artifact = api.upload(&[("d", "data\n")]).await;
    let build = api.post("/teams/main/builds", &one_off(artifact)).await["id"].as_i64().unwrap();
    compare(&api, "events-01", build).await;
    let outputs = api.get(&format!("/builds/{build}/artifacts")).await;
    assert_eq!(outputs[0]["name"], "got", "{outputs}");
    let output = outputs[0]["id"].as_i64().unwrap();
    assert_eq!(api.download(output).await, [("d".to_owned(), "data\n".to_owned())]);

    api.set_pipeline("rec", &recording("pipeline.yml")).await;
    api.put("/teams/main/pipelines/rec/jobs/unit/pause").await;
    let check = json!({"from": null, "shallow": false});
    let check = api.post("/teams/main/pipelines/rec/resources/src/check", &check).await;
    api.succeeded(check["id"].as_i64().unwrap()).await;
    // A build that a person asks for checks the image anew; the one that the version triggers does not.
    let unit = api.trigger("rec", "unit").await;
    api.put("/teams/main/pipelines/rec/jobs/unit/unpause").await;
    compare(&api, "events-03", unit).await;
    compare_plan(&api, 3, unit).await;
    for (job, stream, plan) in [
        ("fails", "events-06", 6),
        ("floops", "events-07", 7),
        ("ferr", "events-08", 8),
        ("fset", "events-16", 9),
    ] {
        let build = api.trigger("rec", job).await;
        compare(&api, stream, build).await;
        compare_plan(&api, plan, build).await;
    }
    let name = api.get(&format!("/builds/{unit}")).await["name"].clone();
    let path = format!("/teams/main/pipelines/rec/jobs/unit/builds/{}", name.as_str().unwrap());
    let rerun = api.post(&path, &Value::Null).await;
    assert_eq!(rerun["rerun_of"]["id"], unit);
    compare(&api, "events-10", rerun["id"].as_i64().unwrap()).await;
    for (path, stream) in
        [("/teams/main/builds", "events-12"), ("/teams/main/pipelines/rec/builds", "events-13")]
    {
        let artifact = api.upload(&[("d", "data\n")]).await;
        let build = api.post(path, &one_off(artifact)).await;
        compare(&api, stream, build["id"].as_i64().unwrap()).await;
    }
    steps_beside_each_other(&api).await;
}

/// Where steps run beside each other, the order between them is chance: each tells its own story.
async fn steps_beside_each_other(api: &Api) {
    let build = api.trigger("rec", "tree").await;
    let stream = api.stream(build).await;
    assert_framed("tree", &stream);
    let mut expected = story(&recorded_stream("events-15"));
    let mut got = story(&stream);
    // One step's line and what another says between its pieces may be cut apart.
    let whole = |line: &String| !line.contains("\"payload\":\"\\n\"");
    expected.retain(whole);
    got.retain(whole);
    expected.sort();
    got.sort();
    assert_same("tree", &expected, &got);
    compare_plan(api, 5, build).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_lets_the_task_end_by_itself_and_runs_its_hook() {
    let Some(server) = Server::with(&["--resource-checking-interval", "1h"]).await else { return };
    let api = server.login().await;
    api.set_pipeline("long", &recording("long.yml")).await;
    let build = api.trigger("long", "long").await;
    api.events_until(build, None, |said| said.contains("\"sleeping\\r\\n\"")).await;
    let abort = api.request(Method::PUT, &format!("/builds/{build}/abort"));
    assert_eq!(Api::send(abort).await.status.as_u16(), 204);
    compare(&api, "events-14", build).await;
    compare_plan(&api, 14, build).await;
    let ended = api.get(&format!("/builds/{build}")).await;
    assert_eq!(ended["status"], "aborted");
    // Aborting what has ended changes nothing.
    api.put(&format!("/builds/{build}/abort")).await;
    assert_eq!(api.get(&format!("/builds/{build}")).await["status"], "aborted");
}
