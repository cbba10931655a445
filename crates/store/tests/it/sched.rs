//! What the scheduler, checks and retention read beyond the aggregates.

use jb_model::{BuildStatus, ContainerHandle, JobId, VolumeHandle};
use jb_store::sched::{LatestBuild, VouchedVersion, Vouching};
use jb_store::{NewCheckBuild, NewContainer, NewVolume, Store, TaskCacheKey};
use serde_json::json;

use crate::world::{World, at, version, world};

conformance![
    turns,
    more_turns_than_connections,
    resources_and_upstream_of_a_job,
    vouching,
    pending_builds_over_jobs,
    periodic_checks,
    latest_builds_of_running_jobs,
    what_is_on_a_worker,
    stale_task_caches
];

async fn turns(store: Store) {
    let world = world(store).await;
    let unit = world.job("unit").await.id;
    let first = world.store.job_turn(unit).await.unwrap().unwrap();
    let other = world.store.job_turn(world.job("ship").await.id).await.unwrap().unwrap();
    first.end().await.unwrap();
    world.store.job_turn(unit).await.unwrap().unwrap().end().await.unwrap();
    other.end().await.unwrap();
}

/// Whoever has a turn reads and writes meanwhile, which takes connections of its own.
async fn more_turns_than_connections(store: Store) {
    let world = world(store).await;
    let unit = world.job("unit").await.id;
    let mut passes = tokio::task::JoinSet::new();
    for number in 0..64 {
        let store = world.store.clone();
        passes.spawn(async move {
            let turn = store.job_turn(JobId(1_000 + number)).await.unwrap().unwrap();
            store.job_to_schedule(unit).await.unwrap();
            store.request_schedule(unit, at(number)).await.unwrap();
            turn.end().await.unwrap();
        });
    }
    while let Some(pass) = passes.join_next().await {
        pass.unwrap();
    }
}

async fn resources_and_upstream_of_a_job(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a"]).await;
    store.pin_version(src.resource, src.ids[0], at(5)).await.unwrap();
    let (unit, ship) = (world.job("unit").await.id, world.job("ship").await.id);
    let used = store.job_resources(unit).await.unwrap();
    let names: Vec<_> = used.iter().map(|used| used.name.as_str()).collect();
    assert_eq!(names, ["src", "tool"]);
    assert_eq!((used[0].scope, used[0].pin.clone()), (Some(src.scope), Some(version("a"))));
    assert_eq!(store.upstream_jobs(ship).await.unwrap(), [(unit, "unit".to_owned())]);
    assert_eq!(store.upstream_jobs(unit).await.unwrap(), []);

    let plan = json!({});
    let check =
        NewCheckBuild { resource: src.resource, manual: true, created_by: None, plan: Some(&plan) };
    let build = store.create_check_build(check, at(6)).await.unwrap().unwrap().id;
    assert_eq!(store.running_checks(src.resource).await.unwrap(), [build]);
    store.finish_build(build, BuildStatus::Succeeded, None, at(7)).await.unwrap();
    assert_eq!(store.running_checks(src.resource).await.unwrap(), []);
    let used = store.job_resources(unit).await.unwrap();
    assert_eq!(used[0].last_check_build_end, Some(at(7)));
}

async fn vouching(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b"]).await;
    let unit = world.job("unit").await.id;
    let first = world.ended("unit", &[(&src, 1)], BuildStatus::Succeeded).await.id;
    let second = world.ended("unit", &[(&src, 0)], BuildStatus::Succeeded).await.id;
    let newest = Vouching { job: unit, oldest_first: false, beyond: None, holding: None, limit: 9 };
    let list = async |which: Vouching| -> Vec<_> {
        let found = store.vouching_builds(&which).await.unwrap();
        found.into_iter().map(|build| build.build).collect()
    };
    assert_eq!(list(newest).await, [second, first]);
    assert_eq!(list(Vouching { beyond: Some((second, second)), ..newest }).await, [first]);
    let oldest = Vouching { oldest_first: true, ..newest };
    assert_eq!(list(oldest).await, [first, second]);
    assert_eq!(list(Vouching { beyond: Some((first, first)), ..oldest }).await, [second]);
    let holding = Some((src.resource, src.ids[0]));
    assert_eq!(list(Vouching { holding, ..newest }).await, [second]);
    assert_eq!(list(Vouching { holding, ..oldest }).await, [second]);
    store.set_version_enabled(src.resource, src.ids[0], false, at(30)).await.unwrap();
    let found = store.vouching_builds(&newest).await.unwrap();
    let held = VouchedVersion { resource: src.resource, version: src.ids[0], enabled: false };
    assert_eq!(found[0].versions, [held]);
    let (used, by) = store.newest_used_by_job(unit, src.resource).await.unwrap().unwrap();
    assert_eq!((used.id, by), (src.ids[1], first));
    let ship = world.job("ship").await.id;
    assert_eq!(store.newest_used_by_job(ship, src.resource).await.unwrap(), None);
}

async fn pending_builds_over_jobs(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (unit, ship) = (world.job("unit").await.id, world.job("ship").await.id);
    let build = store.create_job_build(unit, None, at(5)).await.unwrap().id;
    assert_eq!(store.jobs_with_pending_builds(9).await.unwrap(), [unit]);
    assert_eq!(store.first_pending_in_groups(unit).await.unwrap(), None);
    store.save_next_inputs(unit, &[], &[], true, false).await.unwrap();
    assert_eq!(store.first_pending_in_groups(unit).await.unwrap(), Some(unit));
    assert_eq!(store.first_pending_in_groups(ship).await.unwrap(), None);
    for due in store.jobs_to_schedule(9).await.unwrap() {
        store.set_scheduled(due.job, due.requested).await.unwrap();
    }
    let src = world.resource("src").await.id;
    store.create_job_build(ship, None, at(5)).await.unwrap();
    assert_eq!(store.wake_waiting_jobs(&[src], at(6)).await.unwrap(), 1);
    assert!(store.job_to_schedule(unit).await.unwrap().is_some());
    store.pause_job(unit, "me", at(6)).await.unwrap();
    assert_eq!(store.jobs_with_pending_builds(9).await.unwrap(), [ship]);
    store.abort_build(build, at(7)).await.unwrap();
    assert_eq!(store.jobs_with_pending_builds(9).await.unwrap(), [unit, ship]);
    assert_eq!(store.stranded_builds(9).await.unwrap(), []);
    store.archive_pipeline(world.pipeline, at(8)).await.unwrap();
    assert_eq!(store.stranded_builds(9).await.unwrap().len(), 2);
    assert_eq!(store.jobs_with_pending_builds(9).await.unwrap(), [] as [JobId; 0]);
}

async fn periodic_checks(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (src, tool) = (world.resource("src").await.id, world.resource("tool").await.id);
    assert!(store.is_trigger(src).await.unwrap() && !store.is_trigger(tool).await.unwrap());
    assert_eq!(store.count_periodic_checks().await.unwrap(), 1);
    store.set_next_checks(&[(src, at(50)), (tool, at(60))]).await.unwrap();
    assert_eq!(world.resource("tool").await.check.next_due, Some(at(60)));
    store.pause_pipeline(world.pipeline, "me", at(6)).await.unwrap();
    assert_eq!(store.count_periodic_checks().await.unwrap(), 0);
}

async fn latest_builds_of_running_jobs(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.ended("unit", &[], BuildStatus::Failed).await;
    let job = world.job("unit").await.id;
    let latest = LatestBuild { job, pipeline: world.pipeline, build: build.id };
    assert_eq!(store.latest_builds().await.unwrap(), [latest]);
    store.pause_job(job, "me", at(30)).await.unwrap();
    assert_eq!(store.latest_builds().await.unwrap(), []);
}

fn container(world: &World, name: &str, build: jb_model::BuildId) -> NewContainer {
    NewContainer {
        handle: ContainerHandle::new(name),
        team: world.team,
        build: Some(build),
        plan: None,
        resource: None,
        step_name: "t".into(),
        kind: "task".into(),
        attempt: String::new(),
        worker: "w".into(),
        working_dir: String::new(),
        user: String::new(),
    }
}

async fn what_is_on_a_worker(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let good = world.ended("unit", &[], BuildStatus::Succeeded).await.id;
    let bad = world.ended("unit", &[], BuildStatus::Failed).await.id;
    for (name, build) in [("good", good), ("bad", bad)] {
        store.create_container(&container(&world, name, build), at(5)).await.unwrap();
    }
    let handle = ContainerHandle::new;
    let known = store.container_handles("w").await.unwrap();
    assert_eq!(known, [handle("bad"), handle("good")]);
    assert_eq!(store.container_handles("x").await.unwrap(), []);
    let over = store.finished_containers(None, at(0), at(0), 9).await.unwrap();
    assert_eq!(over, [handle("good")]);
    store.touch_hijacked(&handle("good"), at(9)).await.unwrap();
    assert_eq!(store.finished_containers(None, at(0), at(9), 9).await.unwrap(), []);

    let volume = NewVolume {
        handle: VolumeHandle::new("v"),
        kind: "artifact".into(),
        worker: "w".into(),
        team: None,
        build: None,
        container: None,
        job: None,
        step_name: String::new(),
        path: String::new(),
        parent: None,
    };
    store.create_volume(&volume, at(5)).await.unwrap();
    assert_eq!(store.volume_handles("w").await.unwrap(), [VolumeHandle::new("v")]);
    assert_eq!(store.volume_handles("x").await.unwrap(), []);
}

async fn stale_task_caches(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (unit, ship) = (world.job("unit").await.id, world.job("ship").await.id);
    let key = |job, path| TaskCacheKey { job, step_name: "t", path };
    let volume = VolumeHandle::new("v");
    for (job, path, second) in [(unit, "old", 5), (unit, "new", 9), (ship, "new", 9)] {
        store.save_task_cache(key(job, path), &volume, at(second)).await.unwrap();
    }
    assert_eq!(store.delete_stale_task_caches(at(6)).await.unwrap(), 1);
    store.pause_job(ship, "me", at(10)).await.unwrap();
    assert_eq!(store.delete_stale_task_caches(at(6)).await.unwrap(), 1);
    assert!(store.use_task_cache(key(unit, "new"), at(11)).await.unwrap().is_some());
}
