//! The same with steps as pods, and what there is only on clusters. Skipped, aloud, without one.

mod agents;
mod checks;
mod connection;
mod crashes;
mod metrics;
mod places;
mod pods;
mod reaper;
mod rights;
mod traces;

mod faults;
mod git;
mod network;
mod pipeline;
mod place;
mod registry;
mod steps;

use jb_test_object_store::{BUCKET, KEY, SECRET, TestStore};

use crate::api::Api;
use place::Place;

const PIPELINE: &str = r#"
resources:
- name: source
  type: mock
  source:
    initial_version: "1"
    create_files:
      greeting: hello
      task.yml: |
        platform: linux
        inputs: [{name: source}]
        outputs: [{name: built}]
        caches: [{path: cache}]
        run:
          path: sh
          args: [-ec, "cat source/greeting; touch cache/n; wc -l < cache/n; echo >> cache/n; printf 7 > built/version"]
- name: release
  type: mock
  source: {no_initial_version: true}
jobs:
- name: all
  plan:
  - get: source
  - {task: build, file: source/task.yml}
  - {put: release, params: {file: built/version}, inputs: [built]}
  - task: look
    config:
      platform: linux
      inputs: [{name: built, path: in/built}, {name: release}]
      run: {path: sh, args: [-ec, "cat in/built/version release/version"]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_runs_as_pods() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let log = api.succeeded(api.trigger("p", "all").await).await;
    assert!(log.contains("hello0\r\n"), "{log}");
    assert!(log.contains("77"), "{log}");
    // The second build finds what the first left in the cache.
    let log = api.succeeded(api.trigger("p", "all").await).await;
    assert!(log.contains("hello1\r\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_kept_in_an_object_store() {
    let Some(store) = TestStore::reached_by_pods() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let credentials = format!("aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(file.path(), credentials).unwrap();
    let options = [
        ["--kubernetes-artifact-store", &format!("s3://{BUCKET}/ci")],
        ["--s3-endpoint", &store.endpoint()],
        ["--s3-credentials", file.path().to_str().unwrap()],
    ];
    let options: Vec<&str> = options.iter().flatten().copied().collect();
    let Some(place) = Place::with("restricted", &options).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let log = api.succeeded(api.trigger("p", "all").await).await;
    assert!(log.contains("hello0\r\n") && log.contains("77"), "{log}");
    upload_and_download(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploads_task_gives_back_its_output() {
    let Some(place) = Place::start("baseline").await else { return };
    upload_and_download(&place.login().await).await;
}

async fn upload_and_download(api: &Api) {
    let files = [("a.txt", "one\n"), ("deep/er/b.txt", "two\n")];
    let artifact = api.upload(&files).await;
    let plan = serde_json::json!({"id": "4", "do": [
        {"id": "1", "artifact_input": {"artifact_id": artifact, "name": "in"}},
        {"id": "2", "task": {"name": "one-off", "config": {
            "platform": "linux",
            "inputs": [{"name": "in"}],
            "outputs": [{"name": "in"}],
            "run": {"path": "sh", "args": ["-ec", "cat in/a.txt; echo changed > in/a.txt"]},
        }}},
        {"id": "3", "artifact_output": {"name": "in"}},
    ]});
    let build = api.post("/teams/main/builds", &plan).await["id"].as_i64().unwrap();
    assert_eq!(api.succeeded(build).await, "one\r\n");
    let artifacts = api.get(&format!("/builds/{build}/artifacts")).await;
    let output = artifacts[0]["id"].as_i64().unwrap();
    let expected = [("a.txt", "changed\n"), ("deep/er/b.txt", "two\n")];
    let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
    assert_eq!(api.download(output).await, expected);
    assert_eq!(api.download(artifact).await[0].1, "one\n");
}
