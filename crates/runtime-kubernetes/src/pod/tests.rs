#![allow(clippy::unwrap_used, reason = "tests")]

use jb_model::config::ContainerLimits;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::{ContainerKind, Coordinates, Image, Link, Mount, MountSource, User};

use super::*;
use crate::settings::{ArtifactStore, Images};

pub(crate) const ALL: Features = Features { image_volumes: true, user_namespaces: true };
pub(crate) const NONE: Features = Features { image_volumes: false, user_namespaces: false };

pub(crate) fn settings() -> Settings {
    let images = Images {
        runner: "registry.test/runner:1".into(),
        resources: "registry.test/resources:1".into(),
        task: "registry.test/task:1".into(),
    };
    let mut settings = Settings::new("ci", "artifacts", images);
    settings.cache_claim = Some("caches".into());
    settings
}

pub(crate) fn image() -> PodImage {
    PodImage {
        reference: "registry.test/app@sha256:0".into(),
        user: Some(String::new()),
        ..PodImage::default()
    }
}

fn volume(name: &str) -> VolumeHandle {
    VolumeHandle::new(name)
}

pub(crate) fn task() -> ContainerSpec {
    let input = |volume, copy| MountSource::Input { volume, copy };
    let mounts = [
        ("repo", input(volume("b1-get-1-v"), None)),
        ("both", input(volume("b1-get-2-v"), Some(volume("b1-task-3-o1")))),
        ("built", MountSource::Output(volume("b1-task-3-o0"))),
        ("/root/.cache", MountSource::Cache(volume("cache-1-abc"))),
    ];
    ContainerSpec {
        handle: ContainerHandle::new("b1-task-3"),
        kind: ContainerKind::Task,
        image: Image::Volume(volume("image")),
        hostname: "b1-task-3".into(),
        working_dir: "/tmp/build/abcd".into(),
        mounts: mounts
            .map(|(path, source)| Mount { path: path.into(), source })
            .into_iter()
            .collect(),
        limits: ContainerLimits { cpu_shares: Some(512), memory_bytes: Some(64 << 20) },
        privileged: false,
        network: Network::Outbound,
        user: User::Image,
        source: None,
        coordinates: Coordinates {
            team: "main".into(),
            pipeline: "Web App".into(),
            job: "unit".into(),
            build: "7".into(),
            build_id: "1".into(),
            step: "test".into(),
            attempt: String::new(),
        },
    }
}

fn shown(pod: &Pod) -> String {
    serde_json::to_string_pretty(pod).unwrap()
}

#[test]
fn a_task_with_everything_where_the_cluster_has_everything() {
    let pod = step(&task(), &image(), &Found::default(), &settings(), ALL).unwrap();
    insta::assert_snapshot!("task", shown(&pod));
}

#[test]
fn a_task_with_everything_where_the_cluster_has_nothing() {
    let pod = step(&task(), &image(), &Found::default(), &settings(), NONE).unwrap();
    insta::assert_snapshot!("task-init-containers", shown(&pod));
}

/// Volumes as objects of a bucket.
pub(crate) fn with_objects() -> Settings {
    let bucket = jb_object_store::Settings {
        bucket: "bucket".into(),
        prefix: String::new(),
        endpoint: None,
        region: "region".into(),
        credentials: jb_object_store::Credentials {
            key: "key".into(),
            secret: "secret".into(),
            token: None,
        },
        trust: None,
    };
    Settings { artifacts: ArtifactStore::Objects(bucket), ..settings() }
}

#[test]
fn a_task_whose_volumes_are_objects() {
    let pod = step(&task(), &image(), &Found::default(), &with_objects(), ALL).unwrap();
    let shown = shown(&pod);
    for secret in ["bucket", "secret"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    insta::assert_snapshot!("task-objects", shown);
}

#[test]
fn a_resource_script_and_nothing_else() {
    let spec = ContainerSpec {
        kind: ContainerKind::Check,
        mounts: Vec::new(),
        limits: ContainerLimits::default(),
        user: User::Named("root".into()),
        ..task()
    };
    let image = PodImage {
        reference: "registry.test/resources:1".into(),
        user: Some(String::new()),
        resource: Some("/opt/resources/git".into()),
        ..PodImage::default()
    };
    let pod = step(&spec, &image, &Found::default(), &settings(), ALL).unwrap();
    insta::assert_snapshot!("check", shown(&pod));
    let pod = step(&spec, &image, &Found::default(), &settings(), NONE).unwrap();
    insta::assert_snapshot!("check-init-containers", shown(&pod));
}

#[test]
fn images_that_are_artifacts() {
    let input = |volume: &str, path: &str, copy: Option<&str>| {
        let (volume, copy) = (VolumeHandle::new(volume), copy.map(VolumeHandle::new));
        Mount { path: path.into(), source: MountSource::Input { volume, copy } }
    };
    let mounts = vec![input("pulled", "image", None), input("pulled", "changed", Some("kept"))];
    let spec = ContainerSpec { mounts, limits: ContainerLimits::default(), ..task() };
    let spec = ContainerSpec { user: User::Image, ..spec };
    let root = PodImage {
        reference: "registry.test/runner:1".into(),
        root: Some(VolumeHandle::new("built")),
        ..PodImage::default()
    };
    let pulled = ImageInput { reference: "registry.test/a@b".into(), pull_secret: None };
    let images = ImageInputs::from([(VolumeHandle::new("pulled"), pulled)]);
    let inputs = Found { images, ..Found::default() };
    let pod = step(&spec, &root, &inputs, &settings(), ALL).unwrap();
    insta::assert_snapshot!("artifact-images", shown(&pod));
    let plain = Features { user_namespaces: false, ..ALL };
    let refused = step(&spec, &root, &inputs, &settings(), plain).unwrap_err();
    assert!(refused.contains("baseline"), "{refused}");
    let refused = step(&spec, &image(), &inputs, &settings(), NONE).unwrap_err();
    assert!(refused.contains("image volumes"), "{refused}");
}

#[test]
fn privileged_and_hermetic_where_it_is_allowed() {
    let spec = ContainerSpec {
        mounts: Vec::new(),
        privileged: true,
        network: Network::Hermetic,
        ..task()
    };
    let refused = step(&spec, &image(), &Found::default(), &settings(), ALL).unwrap_err();
    assert!(refused.contains("--kubernetes-pod-security"), "{refused}");
    let settings = Settings { pod_security: PodSecurity::Privileged, ..settings() };
    let pod = step(&spec, &image(), &Found::default(), &settings, ALL).unwrap();
    insta::assert_snapshot!("privileged", shown(&pod));
}

#[test]
fn the_pod_that_holds_the_volumes() {
    insta::assert_snapshot!("artifacts", shown(&artifacts("w-artifacts", &settings(), ALL)));
}

#[test]
fn without_a_claim_for_caches_they_are_empty() {
    let settings = Settings { cache_claim: None, ..settings() };
    let pod = step(&task(), &image(), &Found::default(), &settings, ALL).unwrap();
    let volumes = pod.spec.unwrap().volumes.unwrap();
    assert!(volumes.iter().all(|volume| volume.name != "caches"));
}

fn linked(kind: ContainerKind, handle: &str, ends: &[(&str, bool)]) -> ContainerSpec {
    let mounts = ends.iter().map(|&(name, serves)| {
        let link = Link { volume: volume(name), socket: "a.sock".into(), serves };
        Mount { path: format!("/run/{name}"), source: MountSource::Link(link) }
    });
    let (mounts, handle) = (mounts.collect(), ContainerHandle::new(handle));
    let network = if kind == ContainerKind::Agent { Network::Hermetic } else { Network::Outbound };
    ContainerSpec { kind, mounts, handle, network, limits: ContainerLimits::default(), ..task() }
}

/// The agent's pod reaches its gateway's, and that a server's, through forwarders, whose directories are all that they have.
#[test]
fn an_agent_its_gateway_and_a_server() {
    let (near, far) = ("b1-gateway-3-socket", "b1-mcp-3.db-socket");
    let agent = linked(ContainerKind::Agent, "b1-agent-3", &[(near, false)]);
    let gateway = linked(ContainerKind::Gateway, "b1-gateway-3", &[(near, true), (far, false)]);
    let server = linked(ContainerKind::Mcp, "b1-mcp-3.db", &[(far, true)]);
    let peers = [(volume(near), [10, 1, 2, 3].into()), (volume(far), [10, 1, 2, 4].into())];
    let found = Found { peers: peers.into(), ..Found::default() };
    for (name, spec) in [("agent", &agent), ("gateway", &gateway), ("mcp", &server)] {
        let pod = step(spec, &image(), &found, &settings(), ALL).unwrap();
        insta::assert_snapshot!(name, shown(&pod));
    }
    let refused = step(&agent, &image(), &Found::default(), &settings(), ALL).unwrap_err();
    assert!(refused.contains("nobody serves"), "{refused}");
    let twice = linked(ContainerKind::Gateway, "b1-gateway-3", &[(near, true), ("other", true)]);
    let refused = step(&twice, &image(), &found, &settings(), ALL).unwrap_err();
    assert!(refused.contains("serves one link at most"), "{refused}");
}

#[test]
fn logins_go_with_the_images_that_take_them() {
    let settings = Settings { pull_secrets: vec!["of-all".into()], ..settings() };
    let secret = |name: &str| Some(name.to_owned());
    let image = PodImage { pull_secret: secret("of-image"), ..image() };
    let input =
        ImageInput { reference: "registry.test/a@b".into(), pull_secret: secret("of-input") };
    let images = ImageInputs::from([(volume("b1-get-1-v"), input)]);
    let found = Found { images, ..Found::default() };
    let pod = step(&task(), &image, &found, &settings, ALL).unwrap();
    let secrets = pod.spec.unwrap().image_pull_secrets.unwrap();
    let names: Vec<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["of-image", "of-input", "of-all"]);
}
