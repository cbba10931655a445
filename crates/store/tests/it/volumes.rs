//! Containers, volumes and caches, and when they may go.

use jb_model::{BuildId, BuildStatus, ContainerHandle, Metadata, PlanId, VolumeHandle};
use jb_store::{
    ContainerFilter, ContainerState, Forgetting, NewCache, NewContainer, NewVolume, Store,
    TaskCacheKey, WorkerRows,
};

use crate::world::{World, at, version, world};

conformance![
    containers_are_listed_by_what_they_are_for,
    containers_are_collected_when_nobody_needs_them,
    volumes,
    volumes_in_use_stay,
    workers_are_forgotten_with_what_they_had,
    resource_caches,
    task_caches
];

fn container(world: &World, name: &str, build: Option<BuildId>) -> NewContainer {
    NewContainer {
        handle: ContainerHandle::new(name),
        team: world.team,
        build,
        plan: build.map(|_| PlanId::new("2")),
        resource: None,
        step_name: "t".into(),
        kind: "task".into(),
        attempt: "1.2".into(),
        worker: "w".into(),
        working_dir: "/tmp/build/x".into(),
        user: String::new(),
    }
}

async fn containers_are_listed_by_what_they_are_for(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.started("unit", &[]).await;
    let resource = world.resource("src").await.id;
    let task = container(&world, "c1", Some(build.id));
    let check = NewContainer {
        resource: Some(resource),
        kind: "check".into(),
        step_name: "src".into(),
        attempt: String::new(),
        ..container(&world, "c2", None)
    };
    store.create_container(&task, at(5)).await.unwrap();
    store.create_container(&task, at(9)).await.unwrap();
    store.create_container(&check, at(6)).await.unwrap();
    let elsewhere = NewContainer { worker: "gone".into(), ..container(&world, "c3", None) };
    store.create_container(&elsewhere, at(6)).await.unwrap();
    assert!(store.delete_container(&elsewhere.handle).await.unwrap());
    assert!(store.set_container_state(&task.handle, ContainerState::Created).await.unwrap());
    let nobody = ContainerHandle::new("nobody");
    assert!(!store.set_container_state(&nobody, ContainerState::Failed).await.unwrap());
    let process = serde_json::json!({"env": [["A", "secret"]]});
    assert_eq!(store.container_process(&task.handle).await.unwrap(), None);
    store.set_container_process(&task.handle, &process).await.unwrap();
    assert_eq!(store.container_process(&task.handle).await.unwrap(), Some(process));
    store.touch_hijacked(&task.handle, at(8)).await.unwrap();

    let found = store.container(&task.handle).await.unwrap().unwrap();
    assert_eq!((found.state, found.created_at), (ContainerState::Created, at(5)));
    assert_eq!((found.job_name.as_deref(), found.build_name.as_deref()), (Some("unit"), Some("1")));
    assert_eq!((found.team_name.as_str(), found.last_hijack), ("main", Some(at(8))));
    assert_eq!(found.pipeline.unwrap().id, world.pipeline);
    let found = store.container(&check.handle).await.unwrap().unwrap();
    assert_eq!(found.resource_name.as_deref(), Some("src"));
    assert_eq!(found.pipeline.unwrap().id, world.pipeline);

    let list = async |filter: ContainerFilter| -> Vec<String> {
        let found = store.containers(&filter, 10).await.unwrap();
        found.into_iter().map(|container| container.handle.0).collect()
    };
    let any = ContainerFilter::default;
    assert_eq!(list(any()).await, ["c2", "c1"]);
    let team = ContainerFilter { team: Some(world.team), ..any() };
    assert_eq!(list(team).await, ["c2", "c1"]);
    let filters = [
        ContainerFilter { job: build.job_id, ..any() },
        ContainerFilter { job_name: Some("unit".into()), ..any() },
        ContainerFilter { build: Some(build.id), ..any() },
        ContainerFilter { build_name: Some("1".into()), pipeline: Some(world.pipeline), ..any() },
        ContainerFilter { kind: Some("task".into()), step_name: Some("t".into()), ..any() },
        ContainerFilter { attempt: Some("1.2".into()), ..any() },
    ];
    for filter in filters {
        assert_eq!(list(filter).await, ["c1"]);
    }
    let checks = ContainerFilter { resource_name: Some("src".into()), ..any() };
    assert_eq!(list(checks).await, ["c2"]);
    assert!(store.delete_container(&task.handle).await.unwrap());
    assert!(!store.delete_container(&task.handle).await.unwrap());
}

async fn containers_are_collected_when_nobody_needs_them(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let mut builds = Vec::new();
    for status in [BuildStatus::Succeeded, BuildStatus::Failed, BuildStatus::Failed] {
        builds.push(world.ended("unit", &[], status).await.id);
    }
    builds.push(world.started("unit", &[]).await.id);
    builds.push(BuildId(999));
    for (index, build) in builds.iter().enumerate() {
        let new = container(&world, &format!("c{index}"), Some(*build));
        store.create_container(&new, at(5)).await.unwrap();
    }
    store.create_container(&container(&world, "check", None), at(30)).await.unwrap();
    let collect = async |ended, failed, checked, hijacked| -> Vec<String> {
        let found = store.collectable_containers(
            None,
            at(ended),
            at(failed),
            at(checked),
            at(hijacked),
            10,
        );
        found.await.unwrap().into_iter().map(|handle| handle.0).collect()
    };
    // Builds ended at 20. The newest failure stays until its own time, the gone build's goes at once.
    assert_eq!(collect(20, 20, 30, 0).await, ["c4"]);
    assert_eq!(collect(21, 20, 30, 0).await, ["c0", "c1", "c4"]);
    assert_eq!(collect(21, 21, 31, 0).await, ["c0", "c1", "c2", "c4", "check"]);
    store.touch_hijacked(&ContainerHandle::new("c0"), at(25)).await.unwrap();
    assert_eq!(collect(21, 20, 30, 25).await, ["c1", "c4"]);
    assert_eq!(collect(21, 20, 30, 26).await, ["c0", "c1", "c4"]);
    let running = ContainerHandle::new("c3");
    store.set_container_state(&running, ContainerState::Destroying).await.unwrap();
    assert_eq!(collect(0, 0, 0, 0).await, ["c3", "c4"]);
    let over = store.containers_of_ended_builds("w").await.unwrap();
    let over: Vec<&str> = over.iter().map(|handle| handle.as_str()).collect();
    assert_eq!(over, ["c0", "c1", "c2"]);
}

fn volume(name: &str) -> NewVolume {
    NewVolume {
        handle: VolumeHandle::new(name),
        kind: "artifact".into(),
        worker: "w".into(),
        team: None,
        build: None,
        container: None,
        job: None,
        step_name: String::new(),
        path: "/p".into(),
        parent: None,
    }
}

async fn volumes(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let own = NewVolume {
        team: Some(world.team),
        container: Some(ContainerHandle::new("c")),
        parent: Some(VolumeHandle::new("parent")),
        step_name: "t".into(),
        ..volume("own")
    };
    let foreign = NewVolume { team: Some(jb_model::TeamId(999)), ..volume("foreign") };
    for volume in [&own, &foreign, &volume("shared")] {
        store.create_volume(volume, at(5)).await.unwrap();
    }
    store.set_volume_size(&own.handle, 1 << 40).await.unwrap();
    let found = store.volume(&own.handle).await.unwrap().unwrap();
    assert_eq!((found.size_bytes, found.created_at), (Some(1 << 40), at(5)));
    assert_eq!(found.volume, own);
    let listed = store.team_volumes(world.team, 10).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|volume| volume.volume.handle.0).collect();
    assert_eq!(listed, ["own", "shared"]);
    assert!(store.delete_volume(&own.handle).await.unwrap());
    assert!(!store.delete_volume(&own.handle).await.unwrap());
    assert_eq!(store.volume(&own.handle).await.unwrap(), None);
}

async fn volumes_in_use_stay(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let running = world.one_off().await;
    let new = |name: &str| volume(name);
    let names = ["free", "build", "named", "uploaded", "cached", "task", "mounted", "parent"];
    for name in names {
        let volume = match name {
            "build" => NewVolume { build: Some(running), ..new(name) },
            "mounted" => NewVolume { container: Some(ContainerHandle::new("c")), ..new(name) },
            _ => new(name),
        };
        store.create_volume(&volume, at(5)).await.unwrap();
    }
    let child = NewVolume { parent: Some(VolumeHandle::new("parent")), ..new("child") };
    store.create_volume(&child, at(50)).await.unwrap();
    let handle = |name: &str| VolumeHandle::new(name);
    store.set_build_artifact(running, "", "x", &handle("named")).await.unwrap();
    store.create_artifact(world.team, None, "x", &handle("uploaded"), at(5)).await.unwrap();
    store.save_cache(&cache("k", "a", "cached"), at(5)).await.unwrap();
    let key = TaskCacheKey { job: world.job("unit").await.id, step_name: "t", path: "p" };
    store.save_task_cache(key, &handle("task"), at(5)).await.unwrap();
    store.create_container(&container(&world, "c", Some(running)), at(5)).await.unwrap();
    let collect = async |before| -> Vec<String> {
        let found = store.collectable_volumes(None, at(before), 20).await.unwrap();
        found.into_iter().map(|handle| handle.0).collect()
    };
    assert_eq!(collect(5).await, [] as [&str; 0]);
    assert_eq!(collect(6).await, ["free"]);
    store.finish_build(running, BuildStatus::Succeeded, None, at(6)).await.unwrap();
    assert_eq!(collect(6).await, ["build", "free", "named"]);
    store.delete_unused_caches(at(6), 10).await.unwrap();
    store.clear_task_caches(key.job, "t", None).await.unwrap();
    store.delete_container(&ContainerHandle::new("c")).await.unwrap();
    store.delete_old_artifacts(at(6)).await.unwrap();
    store.delete_volume(&handle("child")).await.unwrap();
    let mut all = names.map(str::to_owned);
    all.sort();
    assert_eq!(collect(6).await, all);
    store.touch_volume(&handle("free"), at(7)).await.unwrap();
    let others: Vec<String> = all.into_iter().filter(|name| name != "free").collect();
    assert_eq!(collect(7).await, others);
}

async fn workers_are_forgotten_with_what_they_had(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let running = world.one_off().await;
    let gone = |name: &str| NewVolume { worker: "gone".into(), ..volume(name) };
    for name in ["cached", "task", "uploaded", "named"] {
        store.create_volume(&gone(name), at(5)).await.unwrap();
    }
    store.create_volume(&volume("kept"), at(5)).await.unwrap();
    let on_gone = NewContainer { worker: "gone".into(), ..container(&world, "c1", None) };
    store.create_container(&on_gone, at(5)).await.unwrap();
    store.create_container(&container(&world, "c2", Some(running)), at(5)).await.unwrap();
    let handle = |name: &str| VolumeHandle::new(name);
    let job = world.job("unit").await.id;
    let key = |path| TaskCacheKey { job, step_name: "t", path };
    store.save_cache(&cache("k1", "a", "cached"), at(5)).await.unwrap();
    store.save_cache(&cache("k2", "b", "kept"), at(5)).await.unwrap();
    store.save_task_cache(key("a"), &handle("task"), at(5)).await.unwrap();
    store.create_artifact(world.team, None, "x", &handle("uploaded"), at(5)).await.unwrap();
    store.set_build_artifact(running, "", "x", &handle("named")).await.unwrap();
    let rows =
        |name: &str, containers, volumes| WorkerRows { name: name.to_owned(), containers, volumes };
    let recorded = async || store.recorded_workers().await.unwrap();
    assert_eq!(recorded().await, [rows("gone", 1, 4), rows("w", 1, 1)]);

    // A build that runs may still want what is there.
    assert_eq!(store.forget_worker("gone").await.unwrap(), Forgetting::InUse(1));
    assert_eq!(recorded().await.len(), 2);
    store.finish_build(running, BuildStatus::Succeeded, None, at(6)).await.unwrap();
    assert_eq!(store.forget_worker("gone").await.unwrap(), Forgetting::Forgotten);
    assert_eq!(recorded().await, [rows("w", 1, 1)]);
    assert!(store.use_cache("k1", at(9)).await.unwrap().is_none());
    assert!(store.use_cache("k2", at(9)).await.unwrap().is_some());
    assert_eq!(store.use_task_cache(key("a"), at(9)).await.unwrap(), None);
    assert_eq!(store.delete_old_artifacts(at(9)).await.unwrap().len(), 0);
    assert_eq!(store.forget_worker("nobody").await.unwrap(), Forgetting::Forgotten);
}

fn cache(key: &str, text: &str, volume: &str) -> NewCache {
    NewCache {
        key: key.into(),
        config_hash: "hash".into(),
        type_name: "git".into(),
        version: version(text),
        metadata: vec![Metadata { name: "m".into(), value: "1".into() }],
        volume: VolumeHandle::new(volume),
    }
}

async fn resource_caches(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    assert_eq!(store.use_cache("k1", at(5)).await.unwrap(), None);
    store.create_volume(&volume("v1"), at(5)).await.unwrap();
    let first = store.save_cache(&cache("k1", "a", "v1"), at(5)).await.unwrap();
    assert_eq!((first.version.clone(), first.metadata.len()), (version("a"), 1));
    let second = store.save_cache(&cache("k1", "a", "v2"), at(6)).await.unwrap();
    assert_eq!(second.volume, first.volume, "the first stays");
    let holding = store.volume(&first.volume).await.unwrap().unwrap();
    assert_eq!(holding.cached, Some(("git".to_owned(), version("a"))));
    let used = store.use_cache("k1", at(9)).await.unwrap().unwrap();
    assert_eq!(used.last_used, at(9));
    assert_eq!(store.volume(&used.volume).await.unwrap().unwrap().last_used, at(9));
    store.save_cache(&cache("k2", "b", "v3"), at(6)).await.unwrap();
    store.save_cache(&cache("k3", "c", "v4"), at(6)).await.unwrap();
    assert_eq!(store.delete_unused_caches(at(9), 1).await.unwrap(), 1);
    assert!(store.use_cache("k2", at(9)).await.unwrap().is_none(), "the oldest goes first");
    assert_eq!(store.clear_caches("hash", Some(&version("z"))).await.unwrap(), 0);
    assert_eq!(store.clear_caches("hash", Some(&version("c"))).await.unwrap(), 1);
    assert_eq!(store.clear_caches("other", None).await.unwrap(), 0);
    let src = world.checked("src", &[]).await;
    assert_eq!(store.clear_resource_caches(src.resource, Some(&version("a"))).await.unwrap(), 1);
    let never = world.resource("out").await.id;
    assert_eq!(store.clear_resource_caches(never, None).await.unwrap(), 0);
    store.save_cache(&cache("k4", "d", "v5"), at(6)).await.unwrap();
    store.delete_volume(&VolumeHandle::new("v5")).await.unwrap();
    assert_eq!(store.use_cache("k4", at(9)).await.unwrap(), None);
}

async fn task_caches(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let job = world.job("unit").await.id;
    let key = |path| TaskCacheKey { job, step_name: "t", path };
    let (v1, v2) = (VolumeHandle::new("v1"), VolumeHandle::new("v2"));
    assert_eq!(store.use_task_cache(key("a"), at(5)).await.unwrap(), None);
    assert_eq!(store.save_task_cache(key("a"), &v1, at(5)).await.unwrap(), v1);
    assert_eq!(store.save_task_cache(key("a"), &v2, at(5)).await.unwrap(), v1);
    store.save_task_cache(key("b"), &v2, at(5)).await.unwrap();
    store.save_task_cache(key("c"), &v2, at(5)).await.unwrap();
    assert_eq!(store.use_task_cache(key("b"), at(6)).await.unwrap(), Some(v2));
    assert_eq!(store.clear_task_caches(job, "t", Some("a")).await.unwrap(), 1);
    assert_eq!(store.clear_task_caches(job, "other", None).await.unwrap(), 0);
    assert_eq!(store.clear_task_caches(job, "t", None).await.unwrap(), 2);
    // A further worker's cache of the path is known by its volume.
    let far = NewVolume { path: "a".into(), worker: "far".into(), ..volume("far") };
    store.create_volume(&far, at(7)).await.unwrap();
    store.save_task_cache(key("a@far"), &far.handle, at(7)).await.unwrap();
    assert_eq!(store.clear_task_caches(job, "t", Some("a")).await.unwrap(), 1);
}
