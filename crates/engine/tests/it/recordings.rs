//! Whole builds, event by event, as a Concourse says them.

use jb_model::BuildStatus;

use crate::server::Server;

/// The pipeline of the recordings, with the fake's words for what its shell cannot do.
const PIPELINE: &str = r#"
var_sources:
- {name: vs, type: dummy, config: {vars: {greeting: hello-from-source}}}
resources:
- name: src
  type: mock
  check_every: never
  source:
    initial_version: v1
    metadata: [{name: author, value: someone}]
    create_files:
      a.txt: "hello\n"
      task.yml: "platform: linux\nimage_resource: {type: mock, source: {mirror_self: true}}\ninputs: [{name: src}]\nparams: {P: filed}\nrun: {path: sh, args: [-c, 'cat src/a.txt; echo $P']}\n"
- {name: out, type: mock, source: {no_initial_version: true}, check_every: never}
jobs:
- name: unit
  plan:
  - {get: src, trigger: true}
  - {load_var: word, file: src/a.txt, reveal: true}
  - task: filed
    file: src/task.yml
    params: {P: "given ((vs:greeting)) ((.:word))"}
  - put: out
    params: {version: o1}
- name: fails
  plan:
  - task: f
    config: &bad {platform: linux, image_resource: {type: mock, source: {mirror_self: true}}, run: {path: sh, args: [-c, "echo bad >&2; exit 3"]}}
    on_failure: {task: h, config: &ok {platform: linux, image_resource: {type: mock, source: {mirror_self: true}}, run: {path: "true"}}}
- name: ferr
  plan: [{task: f, file: nosuch/task.yml, on_error: {task: h, config: *ok}}]
- name: fvars
  plan: [{task: f, config: {platform: linux, run: {path: echo, args: [((n))]}}}]
- name: floops
  plan: [{task: f, timeout: 3s, config: {platform: linux, run: {path: sh, args: [-c, "echo sleeping; sleep 100"]}}}]
- name: long
  on_abort: {task: cleanup, config: {platform: linux, run: {path: echo, args: [cleaned]}}}
  plan: [{task: sleeper, config: {platform: linux, run: {path: sh, args: [-c, "trap 'echo got term; exit 1' TERM; echo sleeping; sleep 1000 & wait"]}}}]
"#;

const EMPTY_TASK: &str =
    r#"{"config":{"image":"","inputs":null,"platform":"","run":{"args":null,"dir":"","path":""}}}"#;

fn start_task(path: &str, args: &str, inputs: &str) -> String {
    format!(
        r#"{{"config":{{"image":"","inputs":{inputs},"platform":"linux","run":{{"args":{args},"dir":"","path":"{path}"}}}}}}"#
    )
}

/// The events of a task's image, the second time it is wanted.
fn image(task: &str, checked: bool) -> Vec<String> {
    let mut lines = vec![
        format!("initialize-task {task} {EMPTY_TASK}"),
        format!("image-check {task} {{}}"),
        format!("image-get {task} {{}}"),
        format!(r#"initialize-check {task}/image-check {{"name":"image"}}"#),
    ];
    if checked {
        lines.push(format!("selected-worker {task}/image-check {{}}"));
        lines.push(format!("start {task}/image-check {{}}"));
    }
    lines.extend([
        format!(r#"finish {task}/image-check {{"succeeded":true}}"#),
        format!("initialize-get {task}/image-get {{}}"),
        format!("start-get {task}/image-get {{}}"),
        format!("selected-worker {task}/image-get {{}}"),
        format!(
            r#"log {task}/image-get stderr "\u{{1b}}[1;36mINFO: found existing resource cache\u{{1b}}[0m\n\n""#
        ),
        format!(
            r#"finish-get {task}/image-get {{"exit_status":0,"version":{{"version":"mock"}}}}"#
        ),
        format!("selected-worker {task} {{}}"),
    ]);
    lines
}

fn status(status: &str) -> String {
    format!(r#"status - {{"status":"{status}"}}"#)
}

#[track_caller]
fn same(found: &[String], expected: &[String]) {
    let (found, expected) = (found.join("\n"), expected.join("\n"));
    assert!(found == expected, "found:\n{found}\n\nexpected:\n{expected}");
}

#[tokio::test]
async fn get_load_var_task_and_put() {
    let server = Server::new(PIPELINE).await;
    // Fills the cache of the image.
    server.run("fails").await;
    let (build, ended) = server.run("unit").await;
    assert_eq!(ended, BuildStatus::Succeeded, "{:?}", server.said(build).await);
    let mut expected = vec![
        status("started"),
        "initialize-get #1 {}".to_owned(),
        "start-get #1 {}".to_owned(),
        "selected-worker #1 {}".to_owned(),
        r#"log #1 stderr "fetching version: v1\n""#.to_owned(),
        r#"finish-get #1 {"exit_status":0,"metadata":[{"name":"author","value":"someone"}],"version":{"version":"v1"}}"#.to_owned(),
        "initialize #2 {}".to_owned(),
        "start #2 {}".to_owned(),
        r#"log #2 stdout "var word fetched.\nadded var word to build.\n""#.to_owned(),
        r#"finish #2 {"succeeded":true}"#.to_owned(),
    ];
    expected.extend(image("#3", true));
    expected.extend([
        format!(
            "start-task #3 {}",
            start_task("sh", r#"["-c","cat src/a.txt; echo $P"]"#, r#"[{"name":"src","path":""}]"#)
        ),
        r#"log #3 stdout "hello\r\ngiven ((redacted)) hello\r\n""#.to_owned(),
        r#"finish-task #3 {"exit_status":0}"#.to_owned(),
        "initialize-put #4 {}".to_owned(),
        "selected-worker #4 {}".to_owned(),
        "start-put #4 {}".to_owned(),
        r#"log #4 stderr "pushing version: o1\n""#.to_owned(),
        r#"finish-put #4 {"exit_status":0,"version":{"version":"o1"}}"#.to_owned(),
        "initialize-get #5 {}".to_owned(),
        "start-get #5 {}".to_owned(),
        "selected-worker #5 {}".to_owned(),
        r#"log #5 stderr "fetching version: o1\n""#.to_owned(),
        r#"finish-get #5 {"exit_status":0,"version":{"version":"o1"}}"#.to_owned(),
        status("succeeded"),
    ]);
    same(&server.said(build).await, &expected);
    let inputs = server.store.build_inputs(build).await.unwrap();
    assert_eq!(inputs[0].version["version"], "v1");
    let outputs = server.store.build_outputs(build).await.unwrap();
    assert_eq!(outputs[0].version["version"], "o1");
}

#[tokio::test]
async fn a_failed_task_and_its_hook() {
    let server = Server::new(PIPELINE).await;
    server.run("fails").await;
    let (build, ended) = server.run("fails").await;
    assert_eq!(ended, BuildStatus::Failed);
    let mut expected = vec![status("started")];
    expected.extend(image("#1", true));
    expected.extend([
        format!("start-task #1 {}", start_task("sh", r#"["-c","echo bad >&2; exit 3"]"#, "null")),
        r#"log #1 stdout "bad\r\n""#.to_owned(),
        r#"finish-task #1 {"exit_status":3}"#.to_owned(),
    ]);
    // The check of the first step's image serves the second, which asks for the same.
    let checked = ["selected-worker #2/image-check {}", "start #2/image-check {}"];
    expected.extend(image("#2", true).into_iter().filter(|line| !checked.contains(&line.as_str())));
    expected.extend([
        format!("start-task #2 {}", start_task("true", "null", "null")),
        r#"finish-task #2 {"exit_status":0}"#.to_owned(),
        status("failed"),
    ]);
    same(&server.said(build).await, &expected);
}

#[tokio::test]
async fn a_task_that_cannot_be_configured_says_only_why() {
    let server = Server::new(PIPELINE).await;
    let (build, ended) = server.run("ferr").await;
    assert_eq!(ended, BuildStatus::Errored);
    let said = server.said(build).await;
    let expected = [
        status("started"),
        r##"error #1 {"message":"unknown artifact source: 'nosuch' in file path 'nosuch/task.yml'"}"##
            .to_owned(),
        format!("initialize-task #2 {EMPTY_TASK}"),
    ];
    same(&said[..3], &expected);
    let (build, ended) = server.run("fvars").await;
    assert_eq!(ended, BuildStatus::Errored);
    let expected = [
        status("started"),
        r##"error #1 {"message":"failed to interpolate task config: undefined vars: n"}"##
            .to_owned(),
        status("errored"),
    ];
    same(&server.said(build).await, &expected);
}

#[tokio::test]
async fn a_task_that_takes_too_long() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("floops").await;
    server.logged(build, "sleeping").await;
    server.advance(std::time::Duration::from_secs(4));
    server.engine().nudge_build(build);
    assert_eq!(server.ended(build).await, BuildStatus::Failed);
    let expected = [
        status("started"),
        format!("initialize-task #1 {EMPTY_TASK}"),
        "selected-worker #1 {}".to_owned(),
        format!(
            "start-task #1 {}",
            start_task("sh", r#"["-c","echo sleeping; sleep 100"]"#, "null")
        ),
        r#"log #1 stdout "sleeping\r\n""#.to_owned(),
        r#"error #1 {"message":"timeout exceeded"}"#.to_owned(),
        status("failed"),
    ];
    same(&server.said(build).await, &expected);
}

#[tokio::test]
async fn an_aborted_task_and_its_hook() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("long").await;
    server.logged(build, "sleeping").await;
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    let said = server.said(build).await;
    let expected = [
        r#"log #1 stdout "sleeping\r\ngot term\r\n""#.to_owned(),
        r#"error #1 {"message":"interrupted"}"#.to_owned(),
        format!("initialize-task #2 {EMPTY_TASK}"),
        "selected-worker #2 {}".to_owned(),
        format!("start-task #2 {}", start_task("echo", r#"["cleaned"]"#, "null")),
        r#"log #2 stdout "cleaned\r\n""#.to_owned(),
        r#"finish-task #2 {"exit_status":0}"#.to_owned(),
        status("aborted"),
    ];
    same(&said[4..], &expected);
}
