//! The server dies while a build runs; the build does not.

use serde_json::Value;

use crate::api::{Api, events_of, log_of};
use crate::server::Server;

const PIPELINE: &str = "
jobs:
- name: counts
  plan:
  - task: count
    config:
      platform: linux
      run:
        path: sh
        args:
        - -ec
        - |
          for n in $(seq 300); do echo line $n; sleep 0.02; done
  - task: after
    config: {platform: linux, run: {path: echo, args: [and on]}}
";

/// Some lines of the log came: enough to be in the middle of it.
fn halfway(said: &str) -> bool {
    said.contains("line 20\\r\\n")
}

fn whole_log() -> String {
    let lines: String = (1..=300).map(|n| format!("line {n}\r\n")).collect();
    lines + "and on\r\n"
}

/// The number of the last event of a stream, or of a part of it.
fn last_id(stream: &str) -> u64 {
    let mut ids = stream.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.next_back().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_while_its_server_is_dead() {
    let Some(server) = Server::start().await else { return };
    goes_on_while_its_server_is_dead(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_goes_on_while_its_server_on_postgresql_is_dead() {
    let Some(server) = Server::on_postgres("goes_on").await else { return };
    goes_on_while_its_server_is_dead(server).await;
}

async fn goes_on_while_its_server_is_dead(mut server: Server) {
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "counts").await;
    let seen = api.events_until(build, None, halfway).await;
    server.kill();
    server.start_again().await;
    // The login is still good: its key is in the database.
    let api = Api::with_token(&server.url, &api.token);
    let log = api.succeeded(build).await;
    assert_eq!(log, whole_log());
    // A client that lost its connection goes on where it was.
    let whole_events = seen.rfind("\n\n").map_or("", |end| &seen[..end + 2]);
    let after = last_id(whole_events);
    let rest = api.events_until(build, Some(after), |_| false).await;
    let mut both = events_of(whole_events);
    both.extend(events_of(&rest));
    assert_eq!(log_of(&both), whole_log());
    let ids: Vec<&Value> = both.iter().map(|event| &event["event_id"]).collect();
    let expected: Vec<Value> = (0..ids.len()).map(|n| Value::String(n.to_string())).collect();
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_die_again_and_again() {
    let Some(mut server) = Server::start().await else { return };
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "counts").await;
    for line in ["line 5\\r\\n", "line 40\\r\\n", "line 90\\r\\n"] {
        api.events_until(build, None, |said| said.contains(line)).await;
        server.kill();
        server.start_again().await;
    }
    assert_eq!(api.succeeded(build).await, whole_log());
    let events = events_of(&api.stream(build).await);
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("start-task"), count("finish-task"), count("status")), (2, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_reaches_a_build_of_the_server_before() {
    let Some(mut server) = Server::start().await else { return };
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "counts").await;
    api.events_until(build, None, halfway).await;
    server.kill();
    server.start_again().await;
    api.put(&format!("/builds/{build}/abort")).await;
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "aborted");
    assert!(whole_log().starts_with(log.trim_end_matches("interrupted")), "{log}");
}
