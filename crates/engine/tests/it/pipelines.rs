//! The `set_pipeline` step. `START_VAR` and `END_VAR` are parentheses in the files that `mock` makes.

use jb_model::{BuildStatus, Object};

use crate::server::Server;

const PIPELINE: &str = r#"
resources:
- name: src
  type: mock
  check_every: never
  source:
    initial_version: v1
    create_files:
      p.yml: "jobs: [{name: START_VARnameEND_VAR, plan: [{task: a, config: {platform: linux, run: {path: x}}}]}]"
      open.yml: "jobs: [{name: open, plan: [{agent: roams, prompt: x, network: full, config: {platform: linux}}]}]"
      bad.yml: "jobs: [{name: a, plan: [{get: nosuch}]}]"
jobs:
- name: child
  plan:
  - {get: src}
  - {set_pipeline: child, file: src/p.yml, vars: {name: made}}
- name: instance
  plan:
  - {get: src}
  - {set_pipeline: child, file: src/p.yml, vars: {name: made}, instance_vars: {branch: feat/one}}
- name: invalid
  plan:
  - {get: src}
  - {set_pipeline: child, file: src/bad.yml}
- name: roaming
  plan:
  - {get: src}
  - {set_pipeline: child, file: src/open.yml}
- name: absent
  plan: [{set_pipeline: child, file: src/none.yml}]
- name: other-team
  plan:
  - {get: src}
  - {set_pipeline: child, file: src/p.yml, vars: {name: made}, team: other}
- name: own
  plan:
  - {get: src}
  - {set_pipeline: self, file: src/p.yml, vars: {name: made}}
- name: slow
  plan:
  - {get: src}
  - task: t
    config:
      platform: linux
      caches: [{path: c}]
      outputs: [{name: o}]
      run:
        path: sh
        args: [-c, 'test -e c/f && echo new > o/n && echo ready && sleep y && exit 0; echo > c/f; echo old > o/n; echo ready; sleep x']
  - {load_var: which, file: o/n, format: trim, reveal: true}
  - {set_pipeline: child, file: src/p.yml, vars: {name: ((.:which))}}
"#;

/// Who may change the file may not be who may give agents a network.
#[tokio::test]
async fn a_step_brings_in_no_agent_with_a_network() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("roaming").await;
    assert_eq!(status, BuildStatus::Failed);
    let log = server.log(build).await;
    assert!(log.contains("have `network: full`: open/roams\n"), "{log}");
    assert!(log.contains("set it with `fly set-pipeline`"), "{log}");
    assert_eq!(jobs_of(&server, "main", "child", &Object::new()).await, None);
}

async fn jobs_of(server: &Server, team: &str, name: &str, vars: &Object) -> Option<Vec<String>> {
    let pipeline = server.store.find_pipeline(team, name, vars).await.unwrap()?;
    let jobs = server.store.pipeline_jobs(pipeline.id).await.unwrap();
    Some(jobs.into_iter().map(|job| job.name).collect())
}

#[tokio::test]
async fn a_pipeline_is_set_once() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("child").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:#?}", server.said(build).await);
    let log = server.log(build).await;
    assert!(log.contains("job made has been added:"), "{log}");
    assert!(log.ends_with("setting pipeline: child\ndone\n"), "{log}");
    let jobs = jobs_of(&server, "main", "child", &Object::new()).await;
    assert_eq!(jobs.unwrap(), ["made"]);
    let (build, _) = server.run("child").await;
    assert!(server.log(build).await.ends_with("no changes to apply.\n"));
    let (build, status) = server.run("instance").await;
    assert_eq!(status, BuildStatus::Succeeded);
    let log = server.log(build).await;
    assert!(log.contains("setting pipeline: child/branch:\"feat/one\"\n"), "{log}");
    let vars = Object::from_iter([("branch".to_owned(), "feat/one".into())]);
    assert!(jobs_of(&server, "main", "child", &vars).await.is_some());
}

#[tokio::test]
async fn what_cannot_be_set_is_explained() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("invalid").await;
    assert_eq!(status, BuildStatus::Failed);
    let log = server.log(build).await;
    assert!(log.contains("invalid pipeline:\n") && log.contains("nosuch"), "{log}");
    let (build, status) = server.run("absent").await;
    assert_eq!(status, BuildStatus::Errored);
    let errors = server.errors(build).await;
    assert_eq!(errors, ["unknown artifact source: 'src' in file path 'src/none.yml'"]);
    // `main` may set pipelines of other teams, if there are such.
    let (build, status) = server.run("other-team").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(server.errors(build).await, ["team other not found"]);
    assert!(jobs_of(&server, "main", "child", &Object::new()).await.is_none());
}

#[tokio::test]
async fn teams_other_than_main_set_only_their_own() {
    let mut server = Server::new(PIPELINE).await;
    let (team, _) =
        server.store.save_team("other", &serde_json::json!({}), server.now()).await.unwrap();
    let (build, status) = server.run("other-team").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    assert!(jobs_of(&server, "other", "child", &Object::new()).await.is_some());
    server.team = team;
    let mine = PIPELINE.replace("team: other", "team: main");
    server.pipeline = server.set_pipeline("p", &mine).await;
    let (build, status) = server.run("other-team").await;
    assert_eq!(status, BuildStatus::Errored);
    let expected = ["only main team can set another team's pipeline"];
    assert_eq!(server.errors(build).await, expected);
}

#[tokio::test]
async fn a_pipeline_can_set_itself() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("own").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    assert_eq!(jobs_of(&server, "main", "p", &Object::new()).await.unwrap(), ["made"]);
    assert!(server.log(build).await.ends_with("setting pipeline: p\ndone\n"));
}

#[tokio::test]
async fn a_newer_build_of_the_job_wins() {
    let server = Server::new(PIPELINE).await;
    let old = server.trigger("slow").await;
    server.logged(old, "ready").await;
    let new = server.trigger("slow").await;
    server.logged(new, "ready").await;
    server.fake.release("y");
    assert_eq!(server.ended(new).await, BuildStatus::Succeeded, "{:?}", server.errors(new).await);
    assert_eq!(jobs_of(&server, "main", "child", &Object::new()).await.unwrap(), ["new"]);
    server.fake.release("x");
    assert_eq!(server.ended(old).await, BuildStatus::Succeeded, "{:?}", server.errors(old).await);
    assert_eq!(jobs_of(&server, "main", "child", &Object::new()).await.unwrap(), ["new"]);
    let log = server.log(old).await;
    assert!(log.contains("job old has been added:"), "it had something to set: {log}");
    let warning =
        "WARNING: the pipeline was not saved because it was already saved by a newer build\n";
    assert!(log.ends_with(warning), "{log}");
}
