//! Gets, puts and checks, and how versions travel from job to job.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jb_model::{BuildEvent, BuildId, BuildStatus, ContainerHandle, Plan, PlanId, PlanStep};
use jb_runtime::fake::{FakeRuntime, Fate};
use jb_store::Page;
use serde_json::json;

use crate::server::Server;

const PIPELINE: &str = r#"
resource_types:
- {name: custom, type: mock, source: {mirror_self: true}, check_every: never}
resources:
- {name: src, type: mock, check_every: never, source: {initial_version: v1}}
- {name: typed, type: custom, check_every: never, source: {initial_version: t1}}
- {name: out, type: mock, check_every: never, source: {no_initial_version: true, metadata: [{name: m, value: n}]}}
- {name: broken, type: mock, check_every: never, source: {check_failure: on purpose}}
- {name: listed, type: mock, check_every: 1h, source: {versions: ['1', '2', '3']}}
- {name: unknown, type: nosuch, check_every: never, source: {}}
- {name: told, type: mock, check_every: never, source: {initial_version: v1}, expose_build_created_by: true}
jobs:
- name: slow-get
  plan: [{get: src, timeout: 3s, params: {sleep: fetch}}]
- name: slow-put
  plan: [{put: out, timeout: 3s, params: {version: late, sleep: push}}]
- name: told-put
  plan: [{put: told, params: {version: v2, print_env: true}, no_get: true}]
- name: told-get
  plan: [{get: told, params: {exit: 1}}]
- name: cached
  plan:
  - {get: src}
- name: uncheckable
  plan: [{get: broken}, {get: unknown}]
- name: custom
  plan: [{get: typed}, {put: typed, params: {version: t2, print_env: true}, no_get: true}]
- name: first
  plan:
  - {get: listed, trigger: true}
  - {put: out, params: {version: made}}
- name: second
  plan:
  - in_parallel:
    - {get: listed, passed: [first], trigger: true}
    - {get: out, passed: [first], trigger: true}
- name: third
  plan: [{get: listed, passed: [second], trigger: true}]
- name: detected
  plan:
  - {get: src}
  - {task: t, config: {platform: linux, outputs: [{name: o}, {name: p}], run: {path: sh, args: [-c, 'printf fromfile > o/v']}}}
  - {put: out, params: {file: o/v}, inputs: detect}
- name: failing-put
  plan: [{put: out, params: {}}]
- name: bad-put-input
  plan: [{put: out, params: {version: x}, inputs: [nosuch]}]
"#;

#[tokio::test]
async fn what_was_fetched_serves_later_builds() {
    let server = Server::new(PIPELINE).await;
    let (first, _) = server.run("cached").await;
    let (second, status) = server.run("cached").await;
    assert_eq!(status, BuildStatus::Succeeded);
    assert_eq!(server.log(first).await, "fetching version: v1\n");
    let found = "\u{1b}[1;36mINFO: found existing resource cache\u{1b}[0m\n\n";
    assert_eq!(server.log(second).await, found);
    let container = format!("b{second}-get-");
    let runs = server.fake.started().into_iter();
    assert_eq!(runs.filter(|(ran, _)| ran.as_str().starts_with(&container)).count(), 0);
}

#[tokio::test]
async fn a_custom_type_is_checked_and_fetched_first() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("custom").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    let log = server.log(build).await;
    assert!(log.contains("fetching version: t1\n"), "{log}");
    assert!(log.contains("env: IMAGE=mirrored\n"), "the type's image sets the environment: {log}");
    let container = server.fake.started().into_iter().find(|(container, _)| {
        container.as_str().starts_with(&format!("b{build}-get-"))
            && !container.as_str().contains("image")
    });
    assert!(container.is_some(), "the get itself ran");
}

#[tokio::test]
async fn versions_pass_from_job_to_job() {
    let server = Server::new(PIPELINE).await;
    let (first, _) = server.run("first").await;
    let outputs = server.store.build_outputs(first).await.unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].version["version"], "made");
    let third = server.job("third").await;
    let build = server
        .until("a build of the last job", async || {
            let builds = server.store.job_builds(third, Page::newest(10)).await.unwrap().items;
            builds.first().map(|build| build.id)
        })
        .await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let inputs = server.store.build_inputs(build).await.unwrap();
    assert_eq!(inputs[0].version["version"], "3");
    let second = server.store.pipes_of(build).await.unwrap()[0].build;
    assert_eq!(server.store.pipes_of(second).await.unwrap()[0].build, first);
}

#[tokio::test]
async fn a_put_sees_what_its_params_name() {
    let server = Server::new(PIPELINE).await;
    // A container goes with its build, which succeeds.
    let seen = Arc::new(Mutex::new(None));
    let (fake, put) = (server.fake.clone(), seen.clone());
    server.fake.set_hook(Some(Arc::new(move |call| {
        if call.what == "start" && call.on.contains("-put-") {
            *put.lock().unwrap() = fake.spec(&ContainerHandle::new(call.on.as_str()));
        }
        Fate::Done
    })));
    let (build, status) = server.run("detected").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.log(build).await);
    assert!(server.log(build).await.contains("pushing version: fromfile\n"));
    let mounts = seen.lock().unwrap().take().unwrap().mounts;
    assert_eq!(mounts.len(), 1, "only `o`: {mounts:?}");
}

#[tokio::test]
async fn a_put_that_fails_says_so() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("failing-put").await;
    assert_eq!(status, BuildStatus::Failed);
    assert_eq!(server.log(build).await, "no version specified\n");
    let said = server.said(build).await;
    let finished = r#"finish-put #1 {"exit_status":1,"version":null}"#;
    assert!(said.iter().any(|line| line == finished), "{said:#?}");
    assert!(server.store.build_outputs(build).await.unwrap().is_empty());
    let (build, status) = server.run("bad-put-input").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(server.errors(build).await, ["missing inputs: nosuch"]);
}

#[tokio::test]
async fn a_get_or_put_that_takes_too_long_fails() {
    let server = Server::new(PIPELINE).await;
    for (job, ready) in [("slow-get", "sleeping: fetch"), ("slow-put", "sleeping: push")] {
        let build = server.trigger(job).await;
        server.logged(build, ready).await;
        server.advance(Duration::from_secs(4));
        server.engine().nudge_build(build);
        assert_eq!(server.ended(build).await, BuildStatus::Failed, "{job}");
        assert_eq!(server.errors(build).await, ["timeout exceeded"], "{job}");
        let said = server.said(build).await;
        assert!(!said.iter().any(|line| line.starts_with("finish-")), "{said:#?}");
        assert!(server.store.build_outputs(build).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn only_a_put_that_shall_know_learns_who_began_the_build() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("told-put").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    let log = server.log(build).await;
    assert!(log.contains("env: BUILD_CREATED_BY=someone\n"), "{log}");
    // `tasks_learn_little_and_resources_much` has a put that shall not know.
    let (build, status) = server.run("told-get").await;
    assert_eq!(status, BuildStatus::Failed);
    let way = server.engine().hijack(&server.container(build, "told").await).await.unwrap();
    let names: Vec<&str> = way.env.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"BUILD_NAME") && !names.contains(&"BUILD_CREATED_BY"), "{names:?}");
}

impl Server {
    pub(crate) async fn check(&self, resource: &str) -> (BuildId, BuildStatus) {
        let resource = self.resource(resource).await;
        let request = jb_engine::checks::CheckRequest::default();
        let engine = self.engine();
        let build = engine.checks.check_now(resource, &request, self.now()).await.unwrap().unwrap();
        (build.id, self.ended(build.id).await)
    }
}

#[tokio::test]
async fn checks_keep_what_they_find() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.check("listed").await;
    assert_eq!(status, BuildStatus::Succeeded);
    let expected = [
        r#"status - {"status":"started"}"#,
        r#"initialize-check #1 {"name":"listed"}"#,
        "selected-worker #1 {}",
        "start #1 {}",
        r#"finish #1 {"succeeded":true}"#,
        r#"status - {"status":"succeeded"}"#,
    ];
    assert_eq!(server.said(build).await, expected);
    let versions =
        server.store.versions_before(server.resource("listed").await, None, 10).await.unwrap();
    let versions: Vec<&str> =
        versions.iter().map(|version| version.version["version"].as_str()).collect();
    assert_eq!(versions, ["3", "2", "1"]);
    let (build, status) = server.check("broken").await;
    assert_eq!(status, BuildStatus::Failed);
    assert_eq!(server.log(build).await, "intentionally failing to check: on purpose\n");
}

#[tokio::test]
async fn a_check_of_an_unknown_type_errors_and_lets_others_go_on() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.check("unknown").await;
    assert_eq!(status, BuildStatus::Errored);
    let errors = server.errors(build).await;
    assert!(errors[0].contains("unknown resource type `nosuch`"), "{errors:?}");
    let (again, status) = server.check("unknown").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_ne!(build, again);
}

#[tokio::test]
async fn a_check_goes_on_after_a_restart() {
    let yaml = "
resources: [{name: slow, type: mock, check_every: never, source: {initial_version: v1, sleep: x}}]
jobs: [{name: j, plan: [{get: slow}]}]
";
    let mut server = Server::new(yaml).await;
    let job = server.trigger("j").await;
    server.logged_anywhere("sleeping: x").await;
    server.crash().await;
    server.start(None);
    server.fake.release("x");
    assert_eq!(server.ended(job).await, BuildStatus::Succeeded);
    let checks = server.fake.started();
    let checks = checks.iter().filter(|(container, _)| container.as_str().contains("-check-"));
    assert_eq!(checks.count(), 1);
}

fn plan(id: &str, step: PlanStep) -> Plan {
    Plan { id: PlanId::new(id), attempts: Vec::new(), step }
}

/// A plan as `fly execute` makes it.
#[tokio::test]
async fn one_off_builds_take_and_give_artifacts() {
    let server = Server::new(PIPELINE).await;
    let from = server.engine().upload(server.team.id, archive("d", b"data")).await.unwrap();
    let input = server
        .store
        .create_artifact(server.team.id, None, "in", &from, server.now())
        .await
        .unwrap();
    let yaml = "platform: linux\ninputs: [{name: in}]\noutputs: [{name: got}]\nrun: {path: sh, args: [-ec, 'cp in/d got/d; ls in']}\n";
    let config = jb_pipeline::task_file::parse_task_config::<String>(yaml).unwrap().config;
    let task: serde_json::Value = serde_json::json!({"id": "2", "task": {
        "name": "one-off", "privileged": false,
        "config": jb_wire::plan::config::task_config_to_json(&config).unwrap()}});
    let task = jb_wire::plan::from_private(&task.to_string()).unwrap();
    let steps = vec![
        plan("1", PlanStep::ArtifactInput { artifact: input.id, name: "in".to_owned() }),
        task,
        plan("3", PlanStep::ArtifactOutput { name: "got".to_owned() }),
    ];
    let build = server.execute(&plan("4", PlanStep::Do(steps))).await;
    assert_eq!(
        server.ended(build).await,
        BuildStatus::Succeeded,
        "{:?}",
        server.errors(build).await
    );
    assert_eq!(server.log(build).await, "d\r\n");
    let made = server.store.artifacts_of_build(build).await.unwrap();
    assert_eq!(made.len(), 1);
    let runtime: &dyn jb_runtime::Runtime = &server.fake;
    let content = runtime.read_file(&made[0].volume, "d", 100).await.unwrap();
    assert_eq!(content.unwrap(), b"data");
    // An artifact of nobody.
    let missing = plan(
        "1",
        PlanStep::ArtifactInput { artifact: jb_model::ArtifactId(999), name: "in".to_owned() },
    );
    let build = server.execute(&missing).await;
    assert_eq!(server.ended(build).await, BuildStatus::Errored);
    assert!(server.errors(build).await[0].contains("upload it again"));
    server.advance(Duration::from_secs(1));
}

fn archive(name: &str, content: &[u8]) -> jb_runtime::ByteStream {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).unwrap();
    Box::new(std::io::Cursor::new(archive.into_inner().unwrap()))
}

#[tokio::test]
async fn base_defaults_lie_under_the_sources_of_resources_types_and_task_images() {
    let yaml = r#"
resource_types: [{name: custom, type: mock, source: {mirror_self: true}, check_every: never}]
resources:
- {name: bare, type: mock, check_every: never, source: {}}
- {name: own, type: mock, check_every: never, source: {initial_version: mine}}
- {name: typed, type: custom, check_every: never, source: {initial_version: t1}}
jobs:
- name: j
  plan:
  - get: bare
  - get: own
  - get: typed
  - {task: t, config: {platform: linux, run: {path: echo, args: [hello]},
      image_resource: {type: mock, source: {mirror_self: true}}}}
"#;
    let mut server = Server::stopped(FakeRuntime::new(), yaml).await;
    let source = json!({"initial_version": "from-defaults"});
    server.base_defaults.insert("mock".to_owned(), source.as_object().unwrap().clone());
    server.start(None);
    let (build, status) = server.run("j").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    let events = server.events(build).await;
    let got: Vec<String> = events
        .into_iter()
        .filter_map(|event| match event {
            BuildEvent::FinishGet { version, .. } => version?.get("version").cloned(),
            _ => None,
        })
        .collect();
    // The resource, its own word over the defaults, the type's image, what is of the type, the task's image.
    assert_eq!(got, ["from-defaults", "mine", "from-defaults", "t1", "from-defaults"]);
}
