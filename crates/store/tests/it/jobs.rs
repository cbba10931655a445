//! Pausing and scheduling jobs.

use std::collections::BTreeSet;

use jb_model::{BuildId, BuildStatus, JobId};
use jb_store::{Change, Error, NextInput, NextInputChoice, Store};
use serde_json::json;

use crate::world::{World, at, pipeline_config, save, version, world};

conformance![
    requests_are_served_once,
    who_is_requested_when,
    pausing,
    next_inputs_are_replaced,
    latest_next_and_transition
];

/// Serves all requests; returns the names of the jobs that were due.
async fn due(world: &World) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for due in world.store.jobs_to_schedule(100).await.unwrap() {
        names.insert(world.store.job(due.job).await.unwrap().unwrap().name);
        world.store.set_scheduled(due.job, due.requested).await.unwrap();
    }
    names
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn requests_are_served_once(store: Store) {
    let world = world(store).await;
    assert_eq!(due(&world).await, set(&["ship", "unit"]));
    assert_eq!(due(&world).await, set(&[]));
    let unit = world.job("unit").await.id;
    let mut changes = world.store.subscribe();
    world.store.request_schedule(unit, at(2)).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Job(unit));
    let first = world.store.job_to_schedule(unit).await.unwrap().unwrap();
    // A request at the same instant is still a new one, and survives the serving of the first.
    world.store.request_schedule(unit, at(2)).await.unwrap();
    world.store.set_scheduled(unit, first.requested).await.unwrap();
    let second = world.store.job_to_schedule(unit).await.unwrap().unwrap();
    assert!(second.requested > first.requested);
    world.store.set_scheduled(unit, second.requested).await.unwrap();
    assert_eq!(world.store.job_to_schedule(unit).await.unwrap(), None);
    world.store.set_scheduled(unit, first.requested).await.unwrap();
    assert_eq!(world.store.job_to_schedule(unit).await.unwrap(), None);
}

async fn who_is_requested_when(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    due(&world).await;
    let src = world.checked("src", &["a"]).await;
    // The new scope concerns all users, new versions only those that get them without passed.
    assert_eq!(due(&world).await, set(&["ship", "unit"]));
    store.save_versions(src.scope, &[version("b")], at(4)).await.unwrap();
    assert_eq!(due(&world).await, set(&["unit"]));
    store.save_versions(src.scope, &[version("b")], at(4)).await.unwrap();
    assert_eq!(due(&world).await, set(&[]));
    store.pin_version(src.resource, src.ids[0], at(4)).await.unwrap();
    assert_eq!(due(&world).await, set(&["ship", "unit"]));
    store.set_version_enabled(src.resource, src.ids[0], false, at(4)).await.unwrap();
    assert_eq!(due(&world).await, set(&["ship", "unit"]));

    let build = world.started("unit", &[]).await.id;
    assert_eq!(due(&world).await, set(&["unit"]));
    store.finish_build(build, BuildStatus::Failed, None, at(5)).await.unwrap();
    assert_eq!(due(&world).await, set(&["ship", "unit"]));
}

async fn pausing(store: Store) {
    let world = world(store).await;
    let unit = world.job("unit").await.id;
    due(&world).await;
    world.store.pause_job(unit, "me", at(6)).await.unwrap();
    let job = world.job("unit").await;
    assert_eq!((job.paused, job.paused_by, job.paused_at), (true, Some("me".into()), Some(at(6))));
    world.store.unpause_job(unit, at(7)).await.unwrap();
    let job = world.job("unit").await;
    assert_eq!((job.paused, job.paused_by, job.paused_at), (false, None, None));
    assert_eq!(due(&world).await, set(&["unit"]));
    let missing = world.store.pause_job(JobId(999), "me", at(6)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

async fn next_inputs_are_replaced(store: Store) {
    let world = world(store).await;
    let src = world.checked("src", &["a"]).await;
    let unit = world.job("unit").await.id;
    let upstream = world.ended("ship", &[], BuildStatus::Succeeded).await.id;
    let good = NextInput {
        name: "src".into(),
        resource: Some(src.resource),
        choice: NextInputChoice::Version { version: src.ids[0], first_occurrence: true },
    };
    let bad = NextInput {
        name: "tool".into(),
        resource: None,
        choice: NextInputChoice::Unresolved { reason: "no versions".into() },
    };
    let both = [good.clone(), bad];
    world.store.save_next_inputs(unit, &both, &[upstream], false, true).await.unwrap();
    assert_eq!(world.store.next_inputs(unit).await.unwrap(), (both.to_vec(), false));
    assert_eq!(world.store.next_pipes(unit).await.unwrap(), [upstream]);
    assert!(world.job("unit").await.has_new_inputs);
    let one = [good];
    world.store.save_next_inputs(unit, &one, &[], true, false).await.unwrap();
    assert_eq!(world.store.next_inputs(unit).await.unwrap(), (one.to_vec(), true));
    assert_eq!(world.store.next_pipes(unit).await.unwrap(), [] as [BuildId; 0]);
    assert!(world.job("unit").await.inputs_determined);
}

async fn latest_next_and_transition(store: Store) {
    let world = world(store).await;
    let mut config = pipeline_config();
    config["jobs"][0]["serial"] = json!(false);
    save(&world.store, world.team, "p", &config).await;
    let shown = async || {
        let job = world.job("unit").await;
        [job.next_build, job.finished_build, job.transition_build]
            .map(|build| build.map_or_else(String::new, |build| build.name))
    };
    let first = world.started("unit", &[]).await;
    let second = world.started("unit", &[]).await;
    assert_eq!(shown().await, ["1", "", ""]);
    let finish =
        async |id, status| world.store.finish_build(id, status, None, at(9)).await.unwrap();
    assert!(finish(second.id, BuildStatus::Succeeded).await);
    assert_eq!(shown().await, ["1", "2", "2"]);
    // Ending late, the first build starts the run of successes.
    assert!(finish(first.id, BuildStatus::Succeeded).await);
    assert!(!finish(first.id, BuildStatus::Failed).await);
    assert_eq!(shown().await, ["", "2", "1"]);
    let third = world.started("unit", &[]).await;
    finish(third.id, BuildStatus::Failed).await;
    assert_eq!(shown().await, ["", "3", "3"]);
    let fourth = world.started("unit", &[]).await;
    finish(fourth.id, BuildStatus::Failed).await;
    assert_eq!(shown().await, ["", "4", "3"]);
    // A rerun of the second stands before the third.
    let rerun = world.store.create_rerun(second.id, None, at(10)).await.unwrap();
    assert_eq!(shown().await, ["2.1", "4", "3"]);
    finish(rerun.id, BuildStatus::Aborted).await;
    assert_eq!(shown().await, ["", "4", "3"]);
    assert_eq!(world.job("unit").await.finished_build.unwrap().status, BuildStatus::Failed);
}
