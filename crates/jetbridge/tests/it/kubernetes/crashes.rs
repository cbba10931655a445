//! The server dies, again and again, from the moment a build asks for its first pod to its end. The build goes on as if
//! nothing had happened.

use std::sync::Arc;
use std::time::SystemTime;

use jb_engine::{Engine, Settings};
use jb_model::{BuildId, Timestamp};
use jb_store::{Allowance, Options, Store};
use serde_json::Value;
use tokio::sync::watch;

use super::Place;
use super::pipeline::{PIPELINE, assert_whole};
use crate::api::{Api, events_of};
use crate::server::until;

/// What of a build is there to be seen.
enum Sight {
    /// A pod of this kind exists.
    Requested(&'static str),
    /// It has a node.
    Placed(&'static str),
    /// The build's events have this text.
    Said(&'static str),
}

const POINTS: [Sight; 12] = [
    Sight::Requested("get"),
    Sight::Placed("get"),
    Sight::Said("finish-get"),
    Sight::Requested("task"),
    Sight::Placed("task"),
    Sight::Said("start-task"),
    Sight::Said("line 1\\r"),
    Sight::Said("line 100\\r"),
    Sight::Said("finish-task"),
    Sight::Requested("put"),
    Sight::Said("finish-put"),
    Sight::Said("looked at"),
];

async fn seen(place: &Place, api: &Api, build: i64, sight: &Sight) {
    let (kind, path) = match sight {
        Sight::Said(text) => {
            api.events_until(build, None, |said| said.contains(text)).await;
            return;
        }
        Sight::Requested(kind) => (kind, "{.items[*].metadata.name}"),
        Sight::Placed(kind) => (kind, "{.items[*].spec.nodeName}"),
    };
    let selector = format!("--selector=jetbridge.dev/build-id,jetbridge.dev/kind={kind}");
    let path = format!("--output=jsonpath={path}");
    until(&format!("a pod of a {kind}"), async || {
        let found = place.cluster.kubectl(&["get", "pods", &selector, &path]);
        (!found.trim().is_empty()).then_some(())
    })
    .await;
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["event"] == kind).count()
}

/// Every step began and ended once, and said everything once.
async fn undisturbed(place: &Place, api: &Api, build: i64) {
    assert_whole(&api.succeeded(build).await);
    let events = events_of(&api.stream(build).await);
    let kinds = ["finish-get", "start-task", "finish-task", "finish-put"];
    // A put fetches what it made.
    assert_eq!(kinds.map(|kind| count(&events, kind)), [2, 2, 2, 1]);
    place.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_at_every_point_goes_on() {
    let Some(mut place) = Place::start("restricted").await else { return };
    let mut api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "all").await;
    for sight in &POINTS {
        seen(&place, &api, build, sight).await;
        place.server.kill();
        place.server.start_again().await;
        api = Api::with_token(&place.server.url, &api.token);
    }
    undisturbed(&place, &api, build).await;
}

fn now() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(i64::try_from(since.as_micros()).unwrap())
}

fn settings() -> Settings {
    Settings {
        owner: "test".to_owned(),
        external_url: "http://server".to_owned(),
        default_task_limits: Default::default(),
        default_timeouts: Default::default(),
        checks: Default::default(),
        grace: Default::default(),
        retention: Default::default(),
        agents: Default::default(),
        base_defaults: Default::default(),
        metrics: Default::default(),
        tracer: Default::default(),
    }
}

/// Engines that may begin so many transactions each, on the state of a server that is dead meanwhile: each dies between
/// two of its writes, with whatever it had asked the cluster for under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_between_any_two_writes_goes_on() {
    let Some(mut place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    assert!(api.try_set_pipeline("p", PIPELINE).await.status.is_success());
    // It waits, as the pipeline is paused.
    let build = api.trigger("p", "all").await;
    place.server.kill();
    let url = format!("sqlite:{}", place.server.state.path().join("jetbridge.db").display());
    let store = Store::open(&url, Options::default(), now()).await.unwrap();
    let pipeline = store.build(BuildId(build)).await.unwrap().unwrap().pipeline.unwrap().id;
    store.unpause_pipeline(pipeline, now()).await.unwrap();
    let mut deaths = 0;
    loop {
        let runtime = place.cluster.runtime(|_| {}).await;
        let allowance = Allowance::new(18 + deaths);
        let store_of_this = store.limited(allowance.clone());
        let engine = Engine::new(store_of_this, Arc::new(runtime), settings(), Arc::new(now));
        let (_stop, stopped) = watch::channel(false);
        let life = tokio::spawn(engine.run(stopped));
        let ended = until("an end of the build or the server", async || {
            let ended = store.build(BuildId(build)).await.unwrap().unwrap().status.is_final();
            let spent = tokio::time::timeout(std::time::Duration::ZERO, allowance.spent()).await;
            if ended { Some(true) } else { spent.is_ok().then_some(false) }
        })
        .await;
        life.abort();
        let _ = life.await;
        if ended {
            break;
        }
        deaths += 1;
    }
    assert!(deaths >= 10, "{deaths} deaths are too few to be at all points");
    store.close().await;
    place.server.start_again().await;
    let api = Api::with_token(&place.server.url, &api.token);
    undisturbed(&place, &api, build).await;
}
