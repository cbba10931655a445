//! What goes wrong around a step.

use std::sync::Arc;
use std::time::Duration;

use jb_model::BuildStatus;
use jb_runtime::fake::{Call, FakeRuntime, Fate};
use tokio::sync::watch;

use crate::server::Server;

const PIPELINE: &str = r#"
resources:
- {name: quick, type: mock, check_every: never, source: {initial_version: v1}}
- {name: src, type: mock, check_every: never, source: {initial_version: v1, sleep: fetch}}
jobs:
- name: sleeper
  on_error: {task: h, config: {platform: linux, run: {path: echo, args: [hook]}}}
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, 'echo before; sleep x; echo after']}}}]
- name: lost
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, 'echo before; lose']}}}]
- name: stubborn
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, "trap '' TERM; echo ready; while true; do sleep x; done"]}}}]
- name: secret
  plan:
  - {task: writes, config: {platform: linux, outputs: [{name: o}], params: {S: ((vs:s))}, run: {path: sh, args: [-c, 'echo $S > o/f; echo wrote']}}}
  - {task: waits, config: {platform: linux, run: {path: sh, args: [-c, 'echo waiting; sleep x']}}}
  - {task: reads, config: {platform: linux, inputs: [{name: o}], run: {path: cat, args: [o/f]}}}
- name: two
  plan:
  - in_parallel: [{get: one, resource: src}, {get: two, resource: src}]
- name: turns
  plan:
  - in_parallel:
    - {get: one, resource: quick, params: {sleep: fetch}}
    - {get: two, resource: quick, params: {sleep: fetch}}
var_sources:
- {name: vs, type: dummy, config: {vars: {s: "sesame"}}}
"#;

#[tokio::test]
async fn a_lost_container_errors_the_step_with_a_clear_text() {
    let server = Server::new(PIPELINE).await;
    let (build, status) = server.run("lost").await;
    assert_eq!(status, BuildStatus::Errored);
    let errors = server.errors(build).await;
    let expected = "the container `b1-task-1` was lost: its runner does not answer any more";
    assert_eq!(errors, [expected]);
}

#[tokio::test]
async fn a_container_lost_while_the_server_was_away_does_not_run_twice() {
    let mut server = Server::new(PIPELINE).await;
    let build = server.trigger("sleeper").await;
    server.logged(build, "before").await;
    let container = server.container(build, "t").await;
    server.crash().await;
    server.fake.lose(&container);
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Errored);
    assert_eq!(server.log(build).await, "before\r\nhook\r\n");
    let runs = server.fake.started().iter().filter(|(ran, _)| *ran == container).count();
    assert_eq!(runs, 1);
}

#[tokio::test]
async fn streams_that_break_lose_and_repeat_nothing() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("sleeper").await;
    server.logged(build, "before").await;
    server.fake.cut_streams(&server.container(build, "t").await);
    server.fake.release("x");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert_eq!(server.log(build).await, "before\r\nafter\r\n");
}

/// Counts how often the runner's journal was asked for.
fn count_attachments(server: &Server) -> watch::Receiver<u32> {
    let (counter, count) = watch::channel(0);
    server.fake.set_hook(Some(Arc::new(move |call: &Call| {
        if call.what == "attach" {
            counter.send_modify(|count| *count += 1);
        }
        Fate::Done
    })));
    count
}

#[tokio::test]
async fn a_runner_that_answers_is_there_however_often_streams_break() {
    let server = Server::new(PIPELINE).await;
    let mut count = count_attachments(&server);
    let build = server.trigger("sleeper").await;
    server.logged(build, "before").await;
    let container = server.container(build, "t").await;
    for n in 2..100 {
        server.fake.cut_streams(&container);
        count.wait_for(|count| *count >= n).await.unwrap();
    }
    server.fake.release("x");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert_eq!(server.log(build).await, "before\r\nafter\r\n");
}

#[tokio::test]
async fn a_signal_that_a_broken_stream_swallowed_is_sent_again() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("sleeper").await;
    server.logged(build, "before").await;
    let container = server.container(build, "t").await;
    let (fake, swallowed) = (server.fake.clone(), std::sync::atomic::AtomicBool::new(false));
    server.fake.set_hook(Some(Arc::new(move |call: &Call| {
        if call.what == "signal" && !swallowed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            fake.cut_streams(&container);
            return Fate::Fails(jb_runtime::Error::Protocol("nobody hears this".to_owned()));
        }
        Fate::Done
    })));
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
}

#[tokio::test]
async fn a_step_whose_runner_is_not_reached_any_more_can_be_aborted() {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    server.timeouts.abandon = Duration::from_millis(1);
    server.start(None);
    let build = server.trigger("sleeper").await;
    server.logged(build, "before").await;
    server.fake.set_hook(Some(Arc::new(|call: &Call| match call.what {
        "connect" => Fate::Unanswered,
        _ => Fate::Done,
    })));
    server.fake.cut_streams(&server.container(build, "t").await);
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(server.log(build).await, "before\r\n");
}

#[tokio::test]
async fn what_the_runtime_refuses_is_the_steps_error() {
    let server = Server::new(PIPELINE).await;
    server.fake.set_hook(Some(Arc::new(|call: &Call| match call.what {
        "create" if call.on == "b1-task-1" => {
            Fate::Fails(jb_runtime::Error::Unsupported("this machine has no such thing".to_owned()))
        }
        _ => Fate::Done,
    })));
    let (build, status) = server.run("sleeper").await;
    assert_eq!(status, BuildStatus::Errored);
    assert_eq!(server.errors(build).await, ["this machine has no such thing"]);
    assert_eq!(server.log(build).await, "hook\r\n");
}

#[tokio::test]
async fn who_does_not_listen_is_killed() {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    server.timeouts.grace = Duration::from_millis(50);
    server.start(None);
    let build = server.trigger("stubborn").await;
    server.logged(build, "ready").await;
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(server.errors(build).await, ["interrupted"]);
}

#[tokio::test]
async fn force_ends_a_build_at_once() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("stubborn").await;
    server.logged(build, "ready").await;
    server.engine().abort(build, true).await.unwrap();
    let record = server.store.build(build).await.unwrap().unwrap();
    assert_eq!(record.status, BuildStatus::Aborted);
    let said = server.said(build).await;
    assert_eq!(said.last().unwrap(), r#"status - {"status":"aborted"}"#);
    // Once more changes nothing.
    server.engine().abort(build, true).await.unwrap();
    assert_eq!(server.said(build).await, said);
    // The server has let go of it and goes on with others.
    server.fake.release("x");
    let (_, status) = server.run("sleeper").await;
    assert_eq!(status, BuildStatus::Succeeded);
}

#[tokio::test]
async fn a_build_whose_pipeline_is_destroyed_is_stopped_at_once() {
    let server = Server::new(PIPELINE).await;
    let (tell, mut destroyed) = tokio::sync::mpsc::channel(64);
    server.fake.set_hook(Some(Arc::new(move |call: &Call| {
        if call.what == "destroy" {
            let _ = tell.try_send(call.on.clone());
        }
        Fate::Done
    })));
    let other = server.set_pipeline("q", PIPELINE).await;
    let job = server.store.job_by_name(other, "sleeper").await.unwrap().unwrap().id;
    let build = server.store.create_job_build(job, None, server.now()).await.unwrap().id;
    server.logged(build, "before").await;
    let container = server.container(build, "t").await;
    server.store.destroy_pipeline(other).await.unwrap();
    // Nothing releases the step, and the next round of collecting garbage is half a minute away.
    let destroyed = tokio::time::timeout(Duration::from_secs(20), destroyed.recv()).await;
    assert_eq!(destroyed.unwrap().as_deref(), Some(container.as_str()));
    server.fake.release("x");
    let (_, status) = server.run("sleeper").await;
    assert_eq!(status, BuildStatus::Succeeded);
    assert_eq!(server.store.build(build).await.unwrap(), None);
}

#[tokio::test]
async fn two_gets_of_one_version_fetch_it_once() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("two").await;
    // The check of the resource and the first get both wait for the test.
    server.logged_anywhere("sleeping: fetch").await;
    server.fake.release("fetch");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    let gets = server.fake.started();
    let gets = gets.iter().filter(|(container, _)| container.as_str().contains("-get-"));
    assert_eq!(gets.count(), 1, "the second get uses what the first fetched");
}

#[tokio::test]
async fn a_step_cancelled_while_it_waits_for_its_turn_never_has_a_container() {
    let server = Server::new(PIPELINE).await;
    let build = server.trigger("turns").await;
    server.logged(build, "sleeping: fetch").await;
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    let gets = server.fake.started();
    let gets = gets.iter().filter(|(container, _)| container.as_str().contains("-get-"));
    assert_eq!(gets.count(), 1);
    assert_eq!(server.errors(build).await, ["interrupted", "interrupted"]);
}

#[tokio::test]
async fn secrets_of_earlier_steps_are_masked_after_a_restart() {
    let mut server = Server::new(PIPELINE).await;
    let build = server.trigger("secret").await;
    server.logged(build, "waiting").await;
    server.crash().await;
    server.start(None);
    server.fake.release("x");
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert_eq!(server.log(build).await, "wrote\r\nwaiting\r\n((redacted))\r\n");
}

#[tokio::test]
async fn a_server_that_stops_in_good_order_leaves_its_builds_to_the_next() {
    let mut server = Server::new(PIPELINE).await;
    let build = server.trigger("sleeper").await;
    server.logged(build, "before").await;
    server.stop().await;
    server.fake.release("x");
    // No time passes: the lease was given up.
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded);
    assert_eq!(server.log(build).await, "before\r\nafter\r\n");
}

#[tokio::test]
async fn a_failed_steps_container_can_be_entered_with_its_environment() {
    let yaml = "
var_sources: [{name: vs, type: dummy, config: {vars: {s: sesame}}}]
jobs: [{name: j, plan: [{task: t, config: {platform: linux, params: {S: ((vs:s))}, run: {path: 'false'}}}]}]
";
    let server = Server::new(yaml).await;
    let (build, status) = server.run("j").await;
    assert_eq!(status, BuildStatus::Failed);
    let container = server.container(build, "t").await;
    let way = server.engine().hijack(&container).await.unwrap();
    assert!(way.env.contains(&("S".to_owned(), "sesame".to_owned())), "{:?}", way.env);
    assert!(server.store.build_vars(build).await.unwrap().is_empty());
    server.store.delete_container(&container).await.unwrap();
    assert_eq!(server.store.container_process(&container).await.unwrap(), None);
}
