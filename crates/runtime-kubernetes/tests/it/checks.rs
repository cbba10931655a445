//! Checks that share pods.

use jb_model::ContainerHandle;
use jb_runtime::client::{Output, ProcessSpec, RunnerClient, Stdin};
use jb_runtime::{ContainerKind, ContainerSpec, Coordinates, Image, Network, Runtime, User};
use jb_runtime_kubernetes::{KubernetesRuntime, PodSecurity};

use crate::cluster::Cluster;

const DIR: &str = "/tmp/build/check";

fn check(handle: &str, source: &str) -> ContainerSpec {
    ContainerSpec {
        handle: ContainerHandle::new(handle),
        kind: ContainerKind::Check,
        image: Image::BaseType("mock".to_owned()),
        hostname: handle.to_owned(),
        working_dir: DIR.to_owned(),
        mounts: Vec::new(),
        limits: Default::default(),
        privileged: false,
        network: Network::Outbound,
        user: User::Named("root".to_owned()),
        source: Some(source.to_owned()),
        coordinates: Coordinates { team: "main".to_owned(), ..Coordinates::default() },
    }
}

async fn client(runtime: &KubernetesRuntime, handle: &str) -> RunnerClient {
    let stream = runtime.connect(&ContainerHandle::new(handle)).await.unwrap();
    RunnerClient::handshake(stream).await.unwrap()
}

fn script(text: &str) -> ProcessSpec {
    ProcessSpec {
        path: "sh".to_owned(),
        args: ["-c", text].map(str::to_owned).to_vec(),
        env: vec![("SECRET".to_owned(), "hidden".to_owned())],
        dir: DIR.to_owned(),
        create_dir: true,
        stdin: Stdin::Data(b"input\n".to_vec()),
        ..ProcessSpec::default()
    }
}

/// What a process says until its end, and its status.
async fn outcome(client: &RunnerClient, id: &str) -> (String, i32) {
    let mut attached = client.attach(id, 0).await.unwrap();
    let mut said = Vec::new();
    while let Some(output) = attached.next().await {
        match output {
            Output::Data { bytes, .. } => said.extend(bytes),
            Output::Exited { status, .. } => return (String::from_utf8(said).unwrap(), status),
        }
    }
    panic!("the connection ended first");
}

async fn said(client: &RunnerClient, id: &str, text: &str) -> String {
    client.start(id, script(text)).await.unwrap();
    let (said, status) = outcome(client, id).await;
    assert_eq!(status, 0, "{said}");
    said.trim().to_owned()
}

/// The names of pods that checks share.
fn pods(cluster: &Cluster) -> Vec<String> {
    let selector = "--selector=jetbridge.dev/kind=checks";
    let list = cluster.kubectl(&["get", "pods", selector, "--output=name"]);
    list.lines().map(str::to_owned).collect()
}

async fn handles(runtime: &KubernetesRuntime) -> Vec<String> {
    let mut handles: Vec<String> =
        runtime.list().await.unwrap().into_iter().map(|info| info.handle.0).collect();
    handles.sort();
    handles
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_a_type_are_processes_of_one_pod() {
    let Some(cluster) = Cluster::find("baseline") else { return };
    let settings = |settings: &mut jb_runtime_kubernetes::Settings| {
        settings.pod_security = PodSecurity::Baseline;
    };
    let runtime = cluster.runtime(settings).await;
    let (one, two, third) =
        (check("b1-check-1", "one"), check("b2-check-1", "two"), check("b3-check-1", "one"));
    let (made_one, made_two) = tokio::join!(runtime.create(&one), runtime.create(&two));
    made_one.unwrap();
    made_two.unwrap();
    assert_eq!(pods(&cluster).len(), 1);
    assert_eq!(handles(&runtime).await, ["b1-check-1", "b2-check-1"]);

    let (first, second) =
        (client(&runtime, "b1-check-1").await, client(&runtime, "b2-check-1").await);
    assert_eq!(
        said(&first, "resource", "cat; echo kept > $TMPDIR/file; umask").await,
        "input\n0022"
    );
    assert_eq!(said(&second, "resource", "ls $HOME | wc -l").await, "0");
    // Neither sees into the other: not its directory, its environment or its runner.
    first.start("long", script("echo $$; exec sleep 1000")).await.unwrap();
    let mut long = first.attach("long", 0).await.unwrap();
    let Some(Output::Data { bytes, .. }) = long.next().await else { panic!("no process number") };
    let pid = String::from_utf8(bytes).unwrap();
    let directory = said(&first, "where", "pwd").await;
    let attempts = format!(
        "cat /proc/{}/environ; ls {directory}; kill {}; ls /.jetbridge/state/journal; cat {directory}/file; echo done",
        pid.trim(),
        pid.trim(),
    );
    let tried = said(&second, "look", &attempts).await;
    assert!(!tried.contains("hidden") && !tried.contains("kept"), "{tried}");
    assert_eq!(
        tried.matches("ermission denied").count() + tried.matches("not permitted").count(),
        5,
        "{tried}"
    );
    // Another check of the same source finds what the first left.
    runtime.create(&third).await.unwrap();
    let again = client(&runtime, "b3-check-1").await;
    assert_eq!(said(&again, "resource", "cat $TMPDIR/file").await, "kept");
    assert_eq!(pods(&cluster).len(), 1);

    // Another server finds the process and its output.
    let other = cluster.runtime(settings).await;
    other.create(&one).await.unwrap();
    let found = client(&other, "b1-check-1").await;
    assert!(found.start("resource", script("echo never")).await.unwrap().existing);
    assert_eq!(outcome(&found, "resource").await.0, "input\n0022\n");
    assert_eq!(handles(&other).await, ["b1-check-1", "b2-check-1", "b3-check-1"]);
    assert_eq!(pods(&cluster).len(), 1);

    for spec in [&one, &two, &third] {
        runtime.destroy(&spec.handle).await.unwrap();
        assert!(runtime.connect(&spec.handle).await.is_err(), "{}", spec.handle);
    }
    while long
        .next()
        .await
        .is_some_and(|output| !matches!(output, Output::Exited { signal: Some(9), .. }))
    {}
    assert!(handles(&runtime).await.is_empty());
    cluster.clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_checks_are_replaced_when_worn_or_lost() {
    let Some(cluster) = Cluster::find("restricted") else { return };
    let runtime = cluster.runtime(|settings| settings.check_pods.max_checks = 2).await;
    let run = async |handle: &str| {
        let spec = check(handle, "one");
        runtime.create(&spec).await.unwrap();
        let client = client(&runtime, handle).await;
        assert_eq!(said(&client, "resource", "cat").await, "input");
        spec.handle
    };
    let one = run("b1-check-1").await;
    let first = pods(&cluster);
    cluster.kubectl(&["delete", &first[0], "--wait"]);
    // It was deleted with its checks.
    assert!(runtime.connect(&one).await.is_err());
    runtime.destroy(&one).await.unwrap();
    let two = run("b2-check-1").await;
    let second = pods(&cluster);
    assert_ne!(first, second);
    runtime.destroy(&two).await.unwrap();
    let three = run("b3-check-1").await;
    assert_eq!(pods(&cluster), second);
    // It took as many as it may. With the last check, it goes.
    let four = run("b4-check-1").await;
    runtime.destroy(&three).await.unwrap();
    cluster.kubectl(&["wait", "--for=delete", &second[0], "--timeout=60s"]);
    assert_eq!(pods(&cluster).len(), 1);
    runtime.destroy(&four).await.unwrap();
    cluster.clear();
}
