//! Tasks: their files, environment, output and ends.

use jb_model::{BuildEvent, BuildStatus};

use crate::server::Server;

const PIPELINE: &str = r#"
resources:
- {name: src, type: mock, check_every: never, source: {initial_version: v1, create_files: {a: "A", task.yml: "platform: linux\nrun: {path: env}\n"}}}
- {name: out, type: mock, check_every: never, source: {no_initial_version: true}}
jobs:
- name: mapped
  plan:
  - {get: source, resource: src}
  - task: one
    input_mapping: {in: source}
    output_mapping: {made: result}
    config:
      platform: linux
      inputs: [{name: in, path: some/where}, {name: absent, optional: true}]
      outputs: [{name: made}]
      run: {path: sh, args: [-c, 'cp some/where/a made/b; echo more >> some/where/a']}
  - task: two
    config:
      platform: linux
      inputs: [{name: result}, {name: source}]
      outputs: [{name: result}]
      run: {path: sh, args: [-c, 'cat result/b source/a; echo B > result/c; ls result']}
  - task: three
    config: {platform: linux, inputs: [{name: result}], run: {path: cat, args: [result/b, result/c]}}
- name: missing
  plan: [{task: t, config: {platform: linux, inputs: [{name: x}, {name: z}], run: {path: ls}}}]
- name: cached
  plan:
  - task: t
    config: {platform: linux, caches: [{path: c}], run: {path: sh, args: [-c, 'echo x >> c/f; cat c/f']}}
- name: image
  plan:
  - {get: src}
  - task: t
    image: rootfs
    config: &env {platform: linux, params: {P: '1'}, run: {path: env}}
- name: env
  plan:
  - task: t
    config: {platform: linux, image_resource: {type: mock, source: {mirror_self: true}}, params: {P: '1'}, run: {path: env}}
  - {put: out, params: {version: '1', print_env: true}}
- name: nosuch
  plan: [{task: t, config: {platform: linux, run: {path: nosuch, args: [x]}}}]
- name: prompt
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, 'printf "name? "; sleep answer; echo thanks']}}}]
- name: flood
  plan: [{task: t, config: {platform: linux, run: {path: flood, args: ['100000']}}}]
- name: bytes
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, 'bytes 61 ff 62 0a; bytes e2 82; sleep rest; bytes ac 0a']}}}]
- name: oom
  plan: [{task: t, config: {platform: linux, container_limits: {memory: 1000}, run: {path: oom}}}]
- name: crashed
  plan: [{task: t, config: {platform: linux, run: {path: crash}}}]
- name: outputs-of-failed
  plan:
  - task: t
    config: {platform: linux, outputs: [{name: o}], run: {path: sh, args: [-c, 'echo left > o/f; exit 1']}}
    on_failure: {task: h, config: {platform: linux, inputs: [{name: o}], run: {path: cat, args: [o/f]}}}
"#;

#[tokio::test]
async fn files_pass_from_step_to_step() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("mapped").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    assert_eq!(server.log(build).await, "fetching version: v1\nAAb\r\nc\r\nAB\r\n");
}

#[tokio::test]
async fn missing_inputs_are_named() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("missing").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(server.errors(build).await, ["missing inputs: x, z"]);
    assert!(server.fake.started().is_empty());
}

#[tokio::test]
async fn an_image_that_no_step_made_is_named() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("image").await;
    assert_eq!(status, BuildStatus::Errored);
    let errors = server.errors(build).await;
    assert!(errors[0].starts_with("missing image artifact source: rootfs"), "{errors:?}");
}

#[tokio::test]
async fn caches_stay_with_the_job() {
    let server = Server::new(PIPELINE).await;
    let (first, _) = server.run("cached").await;
    let (second, _) = server.run("cached").await;
    assert_eq!(server.log(first).await, "x\r\n");
    assert_eq!(server.log(second).await, "x\r\nx\r\n");
}

#[tokio::test]
async fn tasks_learn_little_and_resources_much() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("env").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    let log = server.log(build).await;
    let task = "ATC_EXTERNAL_URL=http://server\r\nIMAGE=mirrored\r\nP=1\r\n";
    assert!(log.contains(task), "{log}");
    for expected in [
        "env: ATC_EXTERNAL_URL=http://server\n",
        "env: BUILD_ID=1\n",
        "env: BUILD_JOB_NAME=env\n",
        "env: BUILD_NAME=1\n",
        "env: BUILD_PIPELINE_NAME=p\n",
        "env: BUILD_TEAM_NAME=main\n",
        "env: BUILD_URL=http://server/teams/main/pipelines/p/jobs/env/builds/1\n",
        "env: BUILD_URL_SHORT=http://server/builds/1\n",
    ] {
        assert!(log.contains(expected), "{expected} in {log}");
    }
    assert!(!log.contains("BUILD_STATUS") && !log.contains("BUILD_CREATED_BY"), "{log}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("nosuch").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(server.errors(build).await, ["run `nosuch`: executable file not found in $PATH"]);
}

#[tokio::test]
async fn a_line_without_end_is_shown_after_a_while() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("prompt").await;
    server.logged(build, "name? ").await;
    server.fake.release("answer");
    server.ended(build).await;
    assert_eq!(server.log(build).await, "name? thanks\r\n");
}

#[tokio::test]
async fn very_much_output_comes_whole_in_chunks() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("flood").await;
    assert_eq!(status, BuildStatus::Succeeded);
    let log = server.log(build).await;
    let whole = log.lines().enumerate().all(|(n, line)| line == format!("line {n:08}"));
    assert!(whole && log.lines().count() == 100_000);
    for event in server.events(build).await {
        if let BuildEvent::Log { payload, .. } = event {
            assert!(payload.len() < 512 * 1024, "{}", payload.len());
            assert!(payload.ends_with(['\n', '\r']), "lines are not cut");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced_and_characters_not_cut() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("bytes").await;
    server.logged(build, "a\u{fffd}b\r\n").await;
    server.fake.release("rest");
    server.ended(build).await;
    assert_eq!(server.log(build).await, "a\u{fffd}b\r\n\u{20ac}\r\n");
}

#[tokio::test]
async fn too_little_memory_and_crashes_fail_the_task() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("oom").await;
    assert_eq!(status, BuildStatus::Failed);
    let log = server.log(build).await;
    assert!(log.contains("memory limit of 1000 bytes"), "{log}");
    let (build, status) = server.run("crashed").await;
    assert_eq!(status, BuildStatus::Failed);
    assert!(server.said(build).await.contains(&r#"finish-task #1 {"exit_status":139}"#.to_owned()));
}

#[tokio::test]
async fn hooks_see_what_a_failed_task_wrote() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("outputs-of-failed").await;
    assert_eq!(status, BuildStatus::Failed);
    assert_eq!(server.log(build).await, "left\r\n");
}
