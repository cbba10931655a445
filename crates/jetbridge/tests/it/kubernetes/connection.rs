//! The way to the API server breaks. Builds end as they should, with logs that are whole and said once, and no pod is left.

use std::cell::Cell;
use std::time::Duration;

use super::Place;
use super::checks::check;
use super::pipeline::{PIPELINE, assert_whole};
use crate::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_cut_every_second_lose_and_repeat_nothing() {
    let Some((place, proxy)) = Place::behind("restricted", &[]).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "all").await;
    let said = Cell::new(0);
    let ended = api.events_until(build, None, |events| {
        said.set(events.len());
        false
    });
    let cutting = async {
        let (mut pause, mut before) = (SECOND, 0);
        loop {
            tokio::time::sleep(pause).await;
            proxy.cut();
            // A busy machine may not even get as far as to connect in a second.
            pause = if said.get() > before { SECOND } else { (2 * pause).min(8 * SECOND) };
            before = said.get();
        }
    };
    tokio::select! {
        _ = ended => {}
        () = cutting => {}
    }
    assert_whole(&api.succeeded(build).await);
    place.is_empty().await;
}

/// Each needs a directory of its own in the pod that they share, which is one more thing that can be cut off.
#[tokio::test(flavor = "multi_thread")]
async fn checks_outlast_streams_that_are_cut_again_and_again() {
    const SOURCES: usize = 12;
    let Some((place, proxy)) = Place::behind("restricted", &[]).await else { return };
    let api = place.login().await;
    let names: Vec<String> = (0..=SOURCES).map(|n| format!("source-{n}")).collect();
    let resources = names.iter().map(|name| {
        format!(
            "- {{name: {name}, type: mock, check_every: never, source: {{initial_version: {name}}}}}\n"
        )
    });
    let gets = names.iter().map(|name| format!("{{get: {name}}}"));
    let pipeline = format!(
        "resources:\n{}jobs:\n- {{name: j, plan: [{}]}}\n",
        resources.collect::<String>(),
        gets.collect::<Vec<_>>().join(", ")
    );
    api.set_pipeline("p", &pipeline).await;
    // The pod is there, and its stream is made.
    api.succeeded(check(&api, &names[0]).await).await;
    let mut checks = Vec::new();
    for name in &names[1..] {
        checks.push(check(&api, name).await);
    }
    let cutting = async {
        for _ in 0..20 {
            proxy.cut();
            tokio::time::sleep(SECOND / 5).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        for check in checks {
            api.succeeded(check).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = cutting => {}
    }
}

/// Something on the way forgets the connections, and tells neither end.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_without_a_word_are_made_anew() {
    let more = ["--kubernetes-stream-silence", "3s"];
    let Some((place, proxy)) = Place::behind("restricted", &more).await else { return };
    let api = place.login().await;
    let pipeline = "
resources:
- {name: looked-at, type: mock, check_every: never, source: {initial_version: '1'}}
jobs:
- {name: other, plan: [{get: looked-at}]}
- name: j
  plan:
  - task: t
    config:
      platform: linux
      run: {path: sh, args: [-ec, 'echo begun; sleep 4; echo gone on; sleep 1; exit 3']}
";
    api.set_pipeline("p", pipeline).await;
    // The stream of checks stays between them.
    api.succeeded(check(&api, "looked-at").await).await;
    let build = api.trigger("p", "j").await;
    api.events_until(build, None, |said| said.contains("begun")).await;
    proxy.silence();
    let log = "begun\r\ngone on\r\n".to_owned();
    let (checked, ended) = tokio::join!(
        async { api.succeeded(check(&api, "looked-at").await).await },
        api.ended(build)
    );
    assert_eq!((checked.as_str(), ended), ("", ("failed".to_owned(), log)));
}

/// How long an API server is away besides: the whole length takes its time.
fn outage() -> Duration {
    let seconds = std::env::var("JETBRIDGE_TEST_OUTAGE_SECONDS").ok();
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()))
}

/// The API server goes away until the server has missed it.
async fn away(proxy: &mut Proxy) {
    proxy.refuse();
    proxy.refused(5).await;
    tokio::time::sleep(outage()).await;
    proxy.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_is_waited_for() {
    let Some((place, mut proxy)) = Place::behind("restricted", &[]).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let under_way = api.trigger("p", "all").await;
    api.events_until(under_way, None, |said| said.contains("line 20\\r")).await;
    away(&mut proxy).await;
    // One that needs it from the beginning, too.
    proxy.refuse();
    let asked = api.trigger("p", "all").await;
    proxy.refused(5).await;
    proxy.open();
    assert_whole(&api.succeeded(under_way).await);
    assert_whole(&api.succeeded(asked).await);
    place.is_empty().await;
}

/// Somebody restarts what the stream goes through while a step says nothing and while it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ends_while_nobody_listens_has_ended() {
    let Some((place, mut proxy)) = Place::behind("restricted", &[]).await else { return };
    let api = place.login().await;
    let run = "{path: sh, args: [-ec, 'echo begun; sleep 2; echo done; exit 3']}";
    let pipeline = format!(
        "jobs: [{{name: j, plan: [{{task: t, config: {{platform: linux, run: {run}}}}}]}}]"
    );
    api.set_pipeline("p", &pipeline).await;
    let build = api.trigger("p", "j").await;
    api.events_until(build, None, |said| said.contains("begun")).await;
    away(&mut proxy).await;
    let (status, log) = api.ended(build).await;
    // An outage that is long is told, too.
    let said: Vec<_> = log.lines().filter(|line| !line.starts_with("waiting: ")).collect();
    assert_eq!((status.as_str(), said.as_slice()), ("failed", ["begun", "done"].as_slice()));
}
