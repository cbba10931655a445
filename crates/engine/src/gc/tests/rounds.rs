//! Rounds of collection, on a store in memory and a runtime that only keeps handles.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jb_model::{BuildId, BuildStatus, ContainerHandle, VolumeHandle};
use jb_runtime::{
    BaseType, ByteStream, ContainerInfo, ContainerSpec, Error, Result, RunnerStream, Runtime,
};
use jb_store::{ContainerState, NewContainer, NewVolume, TaskCacheKey};

use crate::gc::Collector;
use crate::gc::decide::GraceSettings;
use crate::scheduler::tests::server::Server;

#[derive(Default)]
struct Handles {
    containers: Mutex<BTreeSet<ContainerHandle>>,
    /// Those of them that do not run any more.
    ended: Mutex<BTreeSet<ContainerHandle>>,
    endings: tokio::sync::watch::Sender<u64>,
    volumes: Mutex<BTreeSet<VolumeHandle>>,
    keeps_to_its_name: bool,
    /// Held while something more urgent is done, and told that somebody waits for that.
    busy: tokio::sync::Mutex<()>,
    waited_for: tokio::sync::Notify,
}

impl Handles {
    fn has(&self, handle: &str) -> bool {
        self.containers.lock().unwrap().contains(&ContainerHandle::new(handle))
    }
}

#[async_trait]
impl Runtime for Handles {
    fn worker_name(&self) -> &str {
        "w"
    }
    fn base_types(&self) -> Vec<BaseType> {
        Vec::new()
    }
    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.containers.lock().unwrap().insert(spec.handle.clone());
        Ok(())
    }
    async fn connect(&self, handle: &ContainerHandle) -> Result<Box<dyn RunnerStream>> {
        Err(Error::NoContainer(handle.clone()))
    }
    fn keeps_to_its_name(&self) -> bool {
        self.keeps_to_its_name
    }
    async fn leisure(&self) {
        self.waited_for.notify_one();
        drop(self.busy.lock().await);
    }
    async fn destroy(&self, handle: &ContainerHandle) -> Result<()> {
        self.containers.lock().unwrap().remove(handle);
        Ok(())
    }
    async fn list(&self) -> Result<Vec<ContainerInfo>> {
        let containers = self.containers.lock().unwrap();
        let ended = self.ended.lock().unwrap();
        let info = |handle: &ContainerHandle| ContainerInfo {
            handle: handle.clone(),
            running: !ended.contains(handle),
        };
        Ok(containers.iter().map(info).collect())
    }
    fn endings(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        Some(self.endings.subscribe())
    }
    async fn create_volume(&self, volume: &VolumeHandle) -> Result<()> {
        self.volumes.lock().unwrap().insert(volume.clone());
        Ok(())
    }
    async fn stream_in(&self, volume: &VolumeHandle, _: &str, _: ByteStream) -> Result<()> {
        Err(Error::NoVolume(volume.clone()))
    }
    async fn stream_out(&self, volume: &VolumeHandle, _: &str) -> Result<ByteStream> {
        Err(Error::NoVolume(volume.clone()))
    }
    async fn read_file(&self, volume: &VolumeHandle, _: &str, _: usize) -> Result<Option<Vec<u8>>> {
        Err(Error::NoVolume(volume.clone()))
    }
    async fn list_volumes(&self) -> Result<Vec<VolumeHandle>> {
        Ok(self.volumes.lock().unwrap().iter().cloned().collect())
    }
    async fn destroy_volume(&self, volume: &VolumeHandle) -> Result<()> {
        self.volumes.lock().unwrap().remove(volume);
        Ok(())
    }
}

async fn add_container(server: &Server, runtime: &Handles, handle: &str, build: BuildId) {
    record_container(server, handle, build, "w").await;
    runtime.containers.lock().unwrap().insert(ContainerHandle::new(handle));
}

async fn record_container(server: &Server, handle: &str, build: BuildId, worker: &str) {
    let record = server.store.build(build).await.unwrap().unwrap();
    let container = NewContainer {
        handle: ContainerHandle::new(handle),
        team: record.team_id,
        build: Some(build),
        plan: None,
        resource: record.resource_id,
        step_name: "s".into(),
        kind: "task".into(),
        attempt: String::new(),
        worker: worker.into(),
        working_dir: String::new(),
        user: String::new(),
    };
    server.store.create_container(&container, server.now).await.unwrap();
    let state = ContainerState::Created;
    server.store.set_container_state(&container.handle, state).await.unwrap();
}

const JOB: &str = "jobs: [{name: a, plan: [{task: t, file: some/file}]}]";

#[tokio::test]
async fn containers_go_when_nobody_needs_them() {
    let mut server = Server::new(JOB).await;
    let runtime = Arc::new(Handles::default());
    let collector = Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());

    let good = server.trigger("a").await;
    let bad = server.trigger("a").await;
    server.settle().await;
    add_container(&server, &runtime, "good", good).await;
    add_container(&server, &runtime, "hijacked", good).await;
    add_container(&server, &runtime, "bad", bad).await;
    assert_eq!(collector.run_once(server.now).await.containers, 0, "they run");

    server.finish(good, BuildStatus::Succeeded).await;
    server.finish(bad, BuildStatus::Failed).await;
    let hijacked = ContainerHandle::new("hijacked");
    server.store.touch_hijacked(&hijacked, server.now).await.unwrap();
    assert_eq!(collector.run_once(server.now).await.containers, 1);
    assert!(!runtime.has("good"));
    assert!(runtime.has("hijacked"), "someone is inside");
    assert!(runtime.has("bad"), "people may want to look into it");

    server.tick(6 * 60);
    collector.run_once(server.now).await;
    assert!(!runtime.has("hijacked"));
    assert!(runtime.has("bad"));
    // A newer build takes its place as the latest.
    let next = server.trigger("a").await;
    server.settle().await;
    server.finish(next, BuildStatus::Errored).await;
    collector.run_once(server.now).await;
    assert!(!runtime.has("bad"));
    assert!(server.store.container_handles("w").await.unwrap().is_empty());
}

#[tokio::test]
async fn containers_of_builds_that_succeeded_go_once_their_place_has_leisure() {
    let mut server = Server::new(JOB).await;
    let runtime = Arc::new(Handles::default());
    let collector = Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());
    let build = server.trigger("a").await;
    server.settle().await;
    add_container(&server, &runtime, "done", build).await;
    add_container(&server, &runtime, "hijacked", build).await;
    server.finish(build, BuildStatus::Succeeded).await;
    let busy = runtime.busy.lock().await;
    let meanwhile = async {
        runtime.waited_for.notified().await;
        assert!(runtime.has("done"));
        let hijacked = ContainerHandle::new("hijacked");
        server.store.touch_hijacked(&hijacked, server.now).await.unwrap();
        drop(busy);
    };
    tokio::join!(collector.remove_finished_containers_of(build), meanwhile);
    assert!(!runtime.has("done"));
    assert!(runtime.has("hijacked"), "somebody went in while it waited");
}

/// What a runtime would not find is not forgotten: it stays where it is.
#[tokio::test]
async fn containers_of_a_worker_that_is_not_here_stay_recorded() {
    for keeps_to_its_name in [false, true] {
        let mut server = Server::new(JOB).await;
        let runtime = Arc::new(Handles { keeps_to_its_name, ..Handles::default() });
        let collector =
            Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());
        let build = server.trigger("a").await;
        server.settle().await;
        add_container(&server, &runtime, "own", build).await;
        record_container(&server, "other", build, "former").await;
        server.finish(build, BuildStatus::Succeeded).await;
        collector.remove_finished_containers_of(build).await;
        collector.run_once(server.now).await;
        assert!(server.store.container_handles("w").await.unwrap().is_empty());
        let others = server.store.container_handles("former").await.unwrap();
        assert_eq!(others.len(), usize::from(keeps_to_its_name));
    }
}

#[tokio::test]
async fn containers_that_ended_go_once_their_builds_have() {
    let mut server = Server::new(JOB).await;
    let runtime = Arc::new(Handles::default());
    let collector = Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());
    let build = server.trigger("a").await;
    server.settle().await;
    add_container(&server, &runtime, "ended", build).await;
    add_container(&server, &runtime, "other", build).await;
    let end = || runtime.ended.lock().unwrap().insert(ContainerHandle::new("ended"));
    end();
    assert_eq!(collector.run_once(server.now).await.containers, 0, "its log may not be stored yet");
    runtime.ended.lock().unwrap().clear();
    server.finish(build, BuildStatus::Errored).await;
    assert_eq!(collector.run_once(server.now).await.containers, 0, "people may want to look in");

    let now = server.now;
    let collecting = tokio::spawn(Arc::new(collector).run(Arc::new(move || now)));
    end();
    while runtime.has("ended") {
        runtime.endings.send_modify(|count| *count += 1);
        tokio::task::yield_now().await;
    }
    collecting.abort();
    assert!(runtime.has("other"));
}

#[tokio::test]
async fn strays_of_either_side_go_after_a_while() {
    let mut server = Server::new(JOB).await;
    let runtime = Arc::new(Handles::default());
    let collector = Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());
    let build = server.trigger("a").await;
    server.settle().await;
    add_container(&server, &runtime, "lost", build).await;
    runtime.containers.lock().unwrap().clear();
    runtime.containers.lock().unwrap().insert(ContainerHandle::new("unknown"));
    runtime.volumes.lock().unwrap().insert(VolumeHandle::new("unknown"));
    let first = collector.run_once(server.now).await;
    assert_eq!((first.containers, first.volumes), (0, 0));
    server.tick(301);
    let second = collector.run_once(server.now).await;
    assert_eq!((second.containers, second.volumes), (2, 1));
    assert!(!runtime.has("unknown"));
    assert!(server.store.container_handles("w").await.unwrap().is_empty());
}

#[tokio::test]
async fn volumes_stay_while_something_refers_to_them() {
    let mut server = Server::new(JOB).await;
    let runtime = Arc::new(Handles::default());
    let collector = Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());
    let build = server.trigger("a").await;
    server.settle().await;
    let team = server.store.build(build).await.unwrap().unwrap().team_id;
    for name in ["plain", "kept"] {
        let volume = NewVolume {
            handle: VolumeHandle::new(name),
            kind: "artifact".into(),
            worker: "w".into(),
            team: Some(team),
            build: Some(build),
            container: None,
            job: None,
            step_name: String::new(),
            path: String::new(),
            parent: None,
        };
        server.store.create_volume(&volume, server.now).await.unwrap();
        runtime.volumes.lock().unwrap().insert(volume.handle);
    }
    let kept = VolumeHandle::new("kept");
    server.store.create_artifact(team, None, "upload", &kept, server.now).await.unwrap();
    server.tick(3600);
    assert_eq!(collector.run_once(server.now).await.volumes, 0, "the build runs");
    server.finish(build, BuildStatus::Succeeded).await;
    assert_eq!(collector.run_once(server.now).await.volumes, 1);
    assert_eq!(server.store.volume_handles("w").await.unwrap(), [kept]);
    server.tick(12 * 3600);
    let last = collector.run_once(server.now).await;
    assert_eq!((last.artifacts, last.volumes), (1, 1));
}

#[tokio::test]
async fn caches_of_tasks_go_with_their_job_or_by_age() {
    let mut server = Server::new(JOB).await;
    let runtime = Arc::new(Handles::default());
    let keep = Collector::new(server.store.clone(), runtime.clone(), GraceSettings::default());
    let short = GraceSettings { task_cache: Duration::from_secs(600), ..GraceSettings::default() };
    let expire = Collector::new(server.store.clone(), runtime, short);
    let job = server.job("a").await;
    let volume = VolumeHandle::new("cache");
    let key = TaskCacheKey { job, step_name: "t", path: "p" };
    let store = server.store.clone();
    store.save_task_cache(key, &volume, server.now).await.unwrap();
    server.tick(7 * 24 * 3600);
    assert_eq!(keep.run_once(server.now).await.caches, 0);
    assert_eq!(expire.run_once(server.now).await.caches, 1);
    store.save_task_cache(key, &volume, server.now).await.unwrap();
    store.pause_job(job, "someone", server.now).await.unwrap();
    server.trigger("a").await;
    assert_eq!(keep.run_once(server.now).await.caches, 0, "a build waits");
    server.tick(1);
    store.archive_pipeline(server.pipeline, server.now).await.unwrap();
    assert_eq!(keep.run_once(server.now).await.caches, 1);
}
