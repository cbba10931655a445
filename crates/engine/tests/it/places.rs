//! Several places: which step runs where, and how its inputs come there.

use jb_engine::gc::Collector;
use jb_engine::gc::decide::GraceSettings;
use jb_engine::places::ForgetError;
use jb_model::{BuildEvent, BuildId, BuildStatus, ContainerHandle};
use jb_runtime::fake::{Call, FakeRuntime, Fate};
use jb_runtime::{ContainerKind, ContainerSpec, Error, Image, Network, Runtime, User};

use crate::server::Server;

const PIPELINE: &str = r#"
resources:
- {name: src, type: mock, check_every: never, source: {initial_version: v1, create_files: {a: "from src"}}}
jobs:
- name: across
  plan:
  - {get: src}
  - task: first
    tags: [gpu]
    config:
      platform: linux
      inputs: [{name: src}]
      outputs: [{name: out}]
      run: {path: sh, args: [-c, 'cat src/a; cp src/a out/b; sleep first']}
  - task: second
    config: {platform: linux, inputs: [{name: src}, {name: out}], run: {path: cat, args: [out/b]}}
  - task: third
    tags: [gpu]
    config: {platform: linux, inputs: [{name: src}, {name: out}], run: {path: cat, args: [src/a, out/b]}}
- name: stops
  plan:
  - agent: a
    tags: [gpu]
    prompt: |
      write out/x one
      ask a1 git push
      suspend a1
      answer a1
      read out/x
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["git *"]}]
    approval: {tools: [{shell: ["git push*"]}], users: ["local:ann"]}
- name: nowhere
  plan: [{task: t, tags: [arm], config: {platform: linux, run: {path: ls}}}]
- name: plain
  plan: [{task: t, config: {platform: linux, run: {path: ls}}}]
- name: cached
  plan:
  - {task: t, config: &cached {platform: linux, caches: [{path: c}], run: {path: sh, args: [-c, 'echo x >> c/f; cat c/f']}}}
  - {task: t, tags: [gpu], config: *cached}
"#;

/// One for everybody and one for steps with the tag `gpu`.
async fn server() -> (Server, FakeRuntime) {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    let gpu = FakeRuntime::named("gpu");
    server.more.push((gpu.clone(), Vec::new(), vec!["gpu".to_owned()]));
    server.start(None);
    (server, gpu)
}

async fn workers(server: &Server, build: BuildId) -> Vec<String> {
    let events = server.events(build).await.into_iter();
    let workers = events.filter_map(|event| match event {
        BuildEvent::SelectedWorker { worker, .. } => Some(worker),
        _ => None,
    });
    workers.collect()
}

#[tokio::test]
async fn inputs_follow_steps_to_their_places() {
    let (mut server, gpu) = server().await;
    let build = server.trigger("across").await;
    server.logged(build, "from src").await;
    // A server that comes after it finds the container in its place.
    server.crash().await;
    server.start(None);
    gpu.release("first");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert_eq!(workers(&server, build).await, ["fake", "gpu", "fake", "gpu"]);
    assert_eq!(server.log(build).await.matches("from src").count(), 4);
    // What was copied once is used again: the source for the third step, which lay in the first place.
    let copies = gpu.list_volumes().await.unwrap();
    let copies = copies.iter().filter(|volume| volume.as_str().ends_with(".gpu"));
    assert_eq!(copies.count(), 1);
}

#[tokio::test]
async fn a_step_without_a_place_waits_and_says_for_what() {
    let (server, _gpu) = server().await;
    let build = server.trigger("nowhere").await;
    server.logged(build, "no worker has tag `arm` for team `main`; the step waits for one").await;
    let events = server.events(build).await;
    assert!(events.iter().any(|event| matches!(event, BuildEvent::WaitingForWorker { .. })));
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
}

#[tokio::test]
async fn places_have_caches_of_their_own() {
    let (server, _gpu) = server().await;
    for round in 1..=2 {
        let (build, status) = server.run("cached").await;
        assert_eq!(status, BuildStatus::Succeeded);
        assert_eq!(server.log(build).await.matches('x').count(), 2 * round);
    }
    let job = server.job("cached").await;
    assert_eq!(server.store.clear_task_caches(job, "t", Some("c")).await.unwrap(), 2);
    let (build, _) = server.run("cached").await;
    assert_eq!(server.log(build).await.matches('x').count(), 2);
}

/// A place that was taken from the flags.
#[tokio::test]
async fn a_worker_that_is_here_no_more_is_shown_and_can_be_forgotten() {
    let (mut server, _gpu) = server().await;
    server.more.push((FakeRuntime::named("arm"), Vec::new(), vec!["arm".to_owned()]));
    let (_, status) = server.run("cached").await;
    assert_eq!(status, BuildStatus::Succeeded);
    let absent = async |server: &Server| -> Vec<String> {
        let absent = server.engine().absent_workers().await.unwrap();
        absent.into_iter().map(|worker| worker.name).collect()
    };
    assert_eq!(absent(&server).await, [""; 0]);
    let running = server.engine().forget_worker("gpu").await.unwrap_err();
    assert_eq!(running.to_string(), "cannot prune running worker");

    server.crash().await;
    server.more.remove(0);
    server.start(None);
    assert_eq!(absent(&server).await, ["gpu"]);
    assert!(matches!(
        server.engine().forget_worker("nobody").await,
        Err(ForgetError::Unknown(name)) if name == "nobody"
    ));
    server.engine().forget_worker("gpu").await.unwrap();
    assert_eq!(absent(&server).await, [""; 0]);
    let left = server.store.recorded_workers().await.unwrap();
    assert_eq!(left.iter().map(|worker| worker.name.as_str()).collect::<Vec<_>>(), ["fake"]);
}

#[tokio::test]
async fn a_place_that_does_not_answer_keeps_the_others_from_nothing() {
    let (server, gpu) = server().await;
    gpu.set_hook(Some(std::sync::Arc::new(|call: &Call| match call.what {
        "list_volumes" => Fate::Fails(Error::Transient {
            context: "cannot list the volumes".to_owned(),
            source: std::io::ErrorKind::TimedOut.into(),
        }),
        _ => Fate::Done,
    })));
    let places = server.engine().places.clone();
    let collector = Collector::new(server.store.clone(), places.clone(), GraceSettings::default());
    collector.run_once(server.now()).await;
    assert!(places.named("gpu").unwrap().is_stalled());
    let build = server.trigger("across").await;
    server.logged(build, "worker `gpu` does not answer; the step waits for one").await;
    assert_eq!(server.run("plain").await.1, BuildStatus::Succeeded);
}

/// While nothing of it runs there is no container that says where it was.
#[tokio::test]
async fn an_agent_goes_on_where_it_stopped() {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    crate::agents::allow(&mut server);
    let places = ["gpu", "gpu2"].map(FakeRuntime::named);
    for place in &places {
        server.more.push((place.clone(), Vec::new(), vec!["gpu".to_owned()]));
    }
    server.start(None);
    let build = server.trigger("stops").await;
    let asked = crate::agent_approvals::of_call(&server, build, "a1").await;
    let [first, second] = &places;
    while !first.list().await.unwrap().is_empty() || first.started().is_empty() {
        tokio::task::yield_now().await;
    }
    server.crash().await;
    // By what else decides it would be the other.
    let busy = ContainerSpec {
        handle: ContainerHandle::new("busy"),
        kind: ContainerKind::Task,
        image: Image::Host,
        hostname: String::new(),
        working_dir: "/tmp".to_owned(),
        mounts: Vec::new(),
        limits: Default::default(),
        privileged: false,
        network: Network::Outbound,
        user: User::Image,
        coordinates: Default::default(),
        source: None,
    };
    first.create(&busy).await.unwrap();
    server.start(None);
    server.answer(&asked, "ann", true).await;
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert!(server.log(build).await.contains("one"), "{}", server.log(build).await);
    assert!(second.started().is_empty());
}
