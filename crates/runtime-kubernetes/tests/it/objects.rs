//! Volumes in an object store that pods reach at the machine's address.

use jb_model::{ContainerHandle, VolumeHandle};
use jb_object_store::Credentials;
use jb_runtime::client::{Output, ProcessSpec, RunnerClient, Stdin};
use jb_runtime::{
    ContainerKind, ContainerSpec, Coordinates, Image, Mount, MountSource, Network, Runtime, User,
};
use jb_runtime_kubernetes::{ArtifactStore, KubernetesRuntime, Settings};
use jb_test_object_store::{BUCKET, KEY, SECRET, TestStore};
use tokio::io::AsyncReadExt as _;

use crate::cluster::Cluster;

/// Has volumes be objects of the store.
pub(crate) fn keep_in(store: &TestStore, settings: &mut Settings) {
    settings.artifacts = ArtifactStore::Objects(jb_object_store::Settings {
        bucket: BUCKET.to_owned(),
        prefix: "ci/".to_owned(),
        endpoint: Some(store.endpoint()),
        region: "us-east-1".to_owned(),
        credentials: Credentials { key: KEY.to_owned(), secret: SECRET.to_owned(), token: None },
        trust: None,
    });
}

fn task(cluster: &Cluster, name: &str, network: Network, mounts: Vec<Mount>) -> ContainerSpec {
    ContainerSpec {
        handle: ContainerHandle::new(format!("{}-{name}", cluster.namespace)),
        kind: ContainerKind::Task,
        image: Image::Host,
        hostname: "task".to_owned(),
        working_dir: "/tmp/build/task".to_owned(),
        mounts,
        limits: Default::default(),
        privileged: false,
        network,
        user: User::Image,
        source: None,
        coordinates: Coordinates { team: "main".to_owned(), ..Coordinates::default() },
    }
}

fn mount(path: &str, source: MountSource) -> Mount {
    Mount { path: path.to_owned(), source }
}

/// What a script says; it must succeed.
async fn run(runtime: &KubernetesRuntime, spec: &ContainerSpec, script: &str) -> String {
    runtime.create(spec).await.unwrap();
    let stream = runtime.connect(&spec.handle).await.unwrap();
    let client = RunnerClient::handshake(stream).await.unwrap();
    let process = ProcessSpec {
        path: "sh".to_owned(),
        args: ["-ec", script].map(str::to_owned).to_vec(),
        dir: spec.working_dir.clone(),
        stdin: Stdin::Null,
        ..ProcessSpec::default()
    };
    client.start("task", process).await.unwrap();
    let mut attached = client.attach("task", 0).await.unwrap();
    let mut said = Vec::new();
    while let Some(output) = attached.next().await {
        match output {
            Output::Data { bytes, .. } => said.extend(bytes),
            Output::Exited { status, .. } => {
                let said = String::from_utf8(said).unwrap();
                assert_eq!(status, 0, "{said}");
                return said;
            }
        }
    }
    panic!("the connection ended first");
}

/// More than one part, of what cannot be made smaller; sparse files, links, modes and many files.
const FILL: &str = "head -c 36000000 /dev/urandom > out/large; cksum < out/large > out/sum
    truncate -s 200M out/sparse; mkdir out/many; for n in $(seq 2000); do echo $n > out/many/$n; done
    ln -s large out/link; ln out/large out/hard; install -m 0751 /dev/null out/mode; cat out/sum";
const LOOK: &str = "cksum < in/large; test $(stat -c %s in/sparse) = 209715200
    test $(du -k in/sparse | cut -f1) -lt 1000; test $(ls in/many | wc -l) = 2000
    test $(readlink in/link) = large; test $(stat -c %i in/hard) = $(stat -c %i in/large)
    test $(stat -c %a in/mode) = 751";

#[tokio::test(flavor = "multi_thread")]
async fn large_volumes_go_from_step_to_step_and_no_pod_has_the_key() {
    let Some(mut store) = TestStore::reached_by_pods() else { return };
    let Some(cluster) = Cluster::find("restricted") else { return };
    let runtime = cluster
        .runtime(|changed| {
            keep_in(&store, changed);
            changed.cache_claim = None;
        })
        .await;
    let volume = |name: &str| VolumeHandle::new(format!("{}-{name}", cluster.namespace));
    // The one that reaches nothing sends and gets its volumes through the server.
    for (n, network) in [(1, Network::Outbound), (2, Network::Hermetic)] {
        let made = volume(&format!("v{n}"));
        let output = vec![mount("out", MountSource::Output(made.clone()))];
        let maker = task(&cluster, &format!("make{n}"), network, output);
        let sum = run(&runtime, &maker, FILL).await;
        // A store that is away for a moment is waited for.
        store.stop();
        let settled = tokio::join!(
            runtime.settle(&maker.handle),
            tokio::task::spawn_blocking(move || {
                store.resume();
                store
            })
        );
        settled.0.unwrap();
        store = settled.1.unwrap();
        runtime.settle(&maker.handle).await.unwrap();
        let input = MountSource::Input { volume: made.clone(), copy: None };
        let look = task(&cluster, &format!("look{n}"), network, vec![mount("in", input)]);
        assert_eq!(run(&runtime, &look, LOOK).await, sum);
        let pods = cluster.kubectl(&["get", "pods", "--output=json"]);
        for secret in [SECRET, KEY, "X-Amz-", &store.endpoint()] {
            assert!(!pods.contains(secret), "{secret} is in a pod");
        }
        for spec in [&maker, &look] {
            runtime.destroy(&spec.handle).await.unwrap();
        }
        let mut sums = Vec::new();
        let mut archive = runtime.stream_out(&made, "sum").await.unwrap();
        archive.read_to_end(&mut sums).await.unwrap();
        assert!(String::from_utf8_lossy(&sums).contains(sum.trim()));
    }
    cluster.clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_is_no_volume() {
    let Some(mut store) = TestStore::reached_by_pods() else { return };
    let Some(cluster) = Cluster::find("restricted") else { return };
    let runtime = cluster.runtime(|changed| keep_in(&store, changed)).await;
    let made = VolumeHandle::new(format!("{}-v", cluster.namespace));
    let output = vec![mount("out", MountSource::Output(made.clone()))];
    let maker = task(&cluster, "make", Network::Outbound, output);
    // So large that it takes many parts, of which the first are there when the pod goes.
    run(&runtime, &maker, "head -c 150000000 /dev/urandom > out/large").await;
    let settling = {
        let (runtime, handle) = (runtime.clone(), maker.handle.clone());
        tokio::spawn(async move { runtime.settle(&handle).await })
    };
    tokio::task::block_in_place(|| {
        while !settling.is_finished() && store.files().is_empty() {
            std::thread::yield_now();
        }
        // The rest does not get there before the pod goes.
        store.stop();
        cluster.kubectl(&["delete", "pods", "--selector=jetbridge.dev/kind=task", "--now"]);
        store.resume();
    });
    settling.await.unwrap().unwrap_err();
    assert!(!runtime.list_volumes().await.unwrap().contains(&made));
    let look = MountSource::Input { volume: made.clone(), copy: None };
    let look = task(&cluster, "look", Network::Outbound, vec![mount("in", look)]);
    let error = runtime.create(&look).await.unwrap_err();
    assert_eq!(error.to_string(), format!("volume `{made}` does not exist"));
    assert_eq!(store.files(), [""; 0], "parts stay");
    cluster.clear();
}
