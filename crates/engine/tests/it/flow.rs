//! Hooks, attempts, combinations and vars.

use jb_model::BuildStatus;

use crate::server::Server;

const PIPELINE: &str = r#"
var_sources:
- {name: vs, type: dummy, config: {vars: {plain: sesame, deep: {inner: "open me"}}}}
- {name: later, type: dummy, config: {vars: {x: ((vs:plain))}}}
resources:
- name: src
  type: mock
  check_every: never
  source: {initial_version: v1, create_files: {pw: "geheim\n", v.json: '{"user": "root", "pass": "wort"}'}}
- {name: out, type: mock, check_every: never, source: {no_initial_version: true}}
prototypes: [{name: proto, type: mock, source: {}}]
jobs:
- name: fast
  plan:
  - in_parallel:
      fail_fast: true
      steps: &steps
      - {task: waits, config: {platform: linux, run: {path: sh, args: [-c, 'echo ready; sleep rest; echo rested']}}}
      - {task: fails, config: {platform: linux, run: {path: sh, args: [-c, 'sleep begin; exit 1']}}}
- name: patient
  plan: [{in_parallel: {steps: *steps}}]
- name: limited
  plan: [{in_parallel: {limit: 1, fail_fast: true, steps: [{task: fails, config: &fails {platform: linux, run: {path: 'false'}}}, {task: never, config: *fails}]}}]
- name: limited-patient
  plan: [{in_parallel: {limit: 1, steps: [{task: fails, config: *fails}, {task: late, config: *fails}]}}]
- name: prototype
  plan: [{run: greet, type: proto, params: {to: you}}]
- name: attempts
  plan:
  - task: t
    attempts: 3
    config: {platform: linux, caches: [{path: c}], run: {path: sh, args: [-c, 'echo x >> c/f; cat c/f; test -e c/second && exit 0; test -e c/first && echo > c/second; echo > c/first; exit 1']}}
- name: failing
  plan: [{task: t, config: &fail {platform: linux, run: {path: 'false'}}, on_failure: {put: out, params: {version: f, print_env: true}}}]
- name: erroring
  plan: [{task: t, file: no/such, on_error: {put: out, params: {version: e, print_env: true}}}]
- name: ensured
  plan: [{task: t, config: *fail, ensure: {put: out, params: {version: after, print_env: true}}}]
- name: secrets
  plan:
  - {get: src}
  - {load_var: pw, file: src/pw, format: trim}
  - {load_var: v, file: src/v.json}
  - {load_var: shown, file: src/pw, format: trim, reveal: true}
  - task: t
    config:
      platform: linux
      params: {A: "((.:pw)) ((.:v.user)) ((.:v.pass)) ((vs:plain)) ((vs:deep.inner)) ((later:x))"}
      run: {path: sh, args: [-c, 'echo $A']}
- name: shown
  plan:
  - {get: src}
  - {load_var: shown, file: src/pw, format: trim, reveal: true}
  - {task: t, config: {platform: linux, run: {path: echo, args: [((.:shown))]}}}
- name: across
  plan:
  - {get: src}
  - {load_var: v, file: src/v.json, reveal: true}
  - across:
    - {var: x, values: [a, b]}
    - {var: z, values: [((.:v.user)), '2']}
    do:
    - {task: t, config: {platform: linux, outputs: [{name: o}], run: {path: sh, args: [-c, 'echo ((.:x)) ((.:z)) > o/f']}}}
    - {task: u, config: {platform: linux, inputs: [{name: o}], run: {path: cat, args: [o/f]}}}
  - {task: outside, config: {platform: linux, inputs: [{name: o, optional: true}], run: {path: ls, args: [.]}}}
- name: unlisted
  plan: [{across: [{var: x, values: ((vs:plain))}], task: t, config: *fail}]
- name: unknown
  plan: [{task: t, config: {platform: linux, params: {A: ((nosuch:x))}, run: {path: env}}}]
"#;

async fn log_of(job: &str) -> (BuildStatus, String, Vec<String>) {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run(job).await;
    (status, server.log(build).await, server.errors(build).await)
}

#[tokio::test]
async fn attempts_go_on_until_one_succeeds() {
    let (status, log, errors) = log_of("attempts").await;
    assert_eq!((status, errors), (BuildStatus::Succeeded, Vec::new()));
    assert_eq!(log.matches('x').count(), 6, "one, two and three lines: {log}");
}

#[tokio::test]
async fn a_failure_ends_its_siblings_only_if_asked() {
    let server = Server::new(PIPELINE).await;
    for (job, ended) in [("fast", "ready\r\n"), ("patient", "ready\r\nrested\r\n")] {
        let build = server.trigger(job).await;
        server.logged(build, "ready").await;
        server.fake.release("begin");
        if job == "patient" {
            let failed = r#"finish-task #2 {"exit_status":1}"#;
            server
                .until("the failure", async || {
                    server.said(build).await.iter().any(|line| line == failed).then_some(())
                })
                .await;
            server.fake.release("rest");
        }
        assert_eq!(server.ended(build).await, BuildStatus::Failed);
        assert_eq!(server.log(build).await, ended, "{job}");
        let errors = server.errors(build).await;
        assert_eq!(errors.iter().any(|error| error == "interrupted"), job == "fast", "{errors:?}");
    }
    for (job, tasks) in [("limited", 1), ("limited-patient", 2)] {
        let (build, status) = server.run(job).await;
        assert_eq!(status, BuildStatus::Failed);
        let said = server.said(build).await;
        let started = said.iter().filter(|line| line.starts_with("start-task"));
        assert_eq!(started.count(), tasks, "{said:#?}");
    }
}

#[tokio::test]
async fn a_run_step_says_that_it_does_nothing_yet() {
    let (status, log, errors) = log_of("prototype").await;
    assert_eq!((status, errors), (BuildStatus::Succeeded, Vec::new()));
    assert!(log.contains("the run step is not yet implemented"), "{log}");
    assert!(log.contains("pretending to run greet on prototype proto..."), "{log}");
}

#[tokio::test]
async fn hooks_know_how_their_step_ended() {
    for (job, expected) in
        [("failing", Some("failed")), ("erroring", Some("errored")), ("ensured", None)]
    {
        let (_, log, _) = log_of(job).await;
        match expected {
            Some(status) => assert!(log.contains(&format!("BUILD_STATUS={status}\n")), "{log}"),
            None => {
                assert!(log.contains("env: BUILD_ID") && !log.contains("BUILD_STATUS"), "{log}")
            }
        }
    }
}

#[tokio::test]
async fn secrets_and_loaded_vars_are_masked() {
    let (status, log, errors) = log_of("secrets").await;
    assert_eq!((status, errors), (BuildStatus::Succeeded, Vec::new()));
    for secret in ["geheim", "root", "wort", "sesame", "open me"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    let last = log.lines().last().unwrap();
    assert_eq!(last.matches("((redacted))").count(), 6, "{log}");
    let (_, log, _) = log_of("shown").await;
    assert!(log.ends_with("geheim\r\n"), "{log}");
}

#[tokio::test]
async fn across_runs_every_combination_in_a_scope_of_its_own() {
    let (status, log, errors) = log_of("across").await;
    assert_eq!((status, errors), (BuildStatus::Succeeded, Vec::new()));
    for line in ["a root\r\n", "a 2\r\n", "b root\r\n", "b 2\r\n"] {
        assert_eq!(log.matches(line).count(), 1, "{line} in {log}");
    }
    let (status, _, errors) = log_of("unlisted").await;
    assert_eq!(status, BuildStatus::Errored);
    assert!(errors[0].contains("across var `x` are no list"), "{errors:?}");
    assert!(!errors[0].contains("sesame"), "{errors:?}");
}

#[tokio::test]
async fn an_unknown_source_of_vars_is_named() {
    let (status, _, errors) = log_of("unknown").await;
    assert_eq!(status, BuildStatus::Errored);
    assert!(errors[0].contains("missing source 'nosuch'"), "{errors:?}");
}
