#![allow(clippy::unwrap_used, reason = "tests")]

use jb_model::VolumeHandle;
use jb_runtime::{Mount, MountSource};

use super::*;
use crate::pod::tests::task;

fn check() -> ContainerSpec {
    ContainerSpec {
        handle: ContainerHandle::new("b7-check-1"),
        kind: ContainerKind::Check,
        image: Image::BaseType("git".into()),
        working_dir: "/tmp/build/check".into(),
        mounts: Vec::new(),
        limits: Default::default(),
        source: Some("one".into()),
        ..task()
    }
}

#[test]
fn only_plain_checks_share_a_pod() {
    assert!(is_shared(&check()));
    let output = MountSource::Output(VolumeHandle::new("v"));
    let long = ContainerHandle::new("h".repeat(121));
    let alone = [
        ContainerSpec { kind: ContainerKind::Get, ..check() },
        ContainerSpec { source: None, ..check() },
        ContainerSpec { privileged: true, ..check() },
        ContainerSpec { mounts: vec![Mount { path: "a".into(), source: output }], ..check() },
        ContainerSpec { limits: task().limits, ..check() },
        ContainerSpec { handle: long, ..check() },
    ];
    for spec in alone {
        assert!(!is_shared(&spec), "{spec:?}");
    }
}

#[test]
fn isolation_follows_from_image_and_level() {
    let own = Image::BaseType("git".into());
    let foreign = Image::Volume(VolumeHandle::new("image"));
    assert_eq!(isolation(&own, PodSecurity::Restricted), Isolation::Directory);
    assert_eq!(isolation(&own, PodSecurity::Baseline), Isolation::User);
    assert_eq!(isolation(&own, PodSecurity::Privileged), Isolation::User);
    assert_eq!(isolation(&foreign, PodSecurity::Restricted), Isolation::Pod);
    assert_eq!(isolation(&foreign, PodSecurity::Privileged), Isolation::Pod);
}

#[test]
fn pods_are_shared_by_team_and_type() {
    let other_source = ContainerSpec { source: Some("two".into()), ..check() };
    let mut other_team = check();
    other_team.coordinates.team = "other".into();
    let other_type = ContainerSpec { image: Image::BaseType("time".into()), ..check() };
    let key = |spec: &ContainerSpec| pod_key(spec, Isolation::User);
    assert_eq!(key(&check()), key(&other_source));
    assert_ne!(key(&check()), key(&other_team));
    assert_ne!(key(&check()), key(&other_type));
    let key = |spec: &ContainerSpec| pod_key(spec, Isolation::Pod);
    assert_eq!(key(&check()), key(&check()));
    assert_ne!(key(&check()), key(&other_source));
}

#[test]
fn a_process_gets_its_sources_user_and_directory() {
    let member = Member::new(&check(), Isolation::User, 3);
    let mut spec = ProcessSpec {
        dir: "/tmp/build/check".into(),
        env: vec![("HOME".into(), "/mine".into())],
        user: Some("root".into()),
        privileged: true,
        ..ProcessSpec::default()
    };
    member.adapt(&mut spec);
    assert_eq!(spec.user.as_deref(), Some("20003:20003"));
    assert_eq!(spec.dir, "/tmp/build/check/3");
    let env = [("HOME", "/mine"), ("TMPDIR", "/tmp/build/check/3")];
    assert_eq!(spec.env, env.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(!spec.privileged);
}

#[test]
fn in_a_pod_of_its_own_a_process_stays_as_it_is() {
    let member = Member::new(&check(), Isolation::Pod, 0);
    let wanted = ProcessSpec {
        dir: "/tmp/build/check".into(),
        user: Some("root".into()),
        ..Default::default()
    };
    let mut spec = wanted.clone();
    member.adapt(&mut spec);
    assert_eq!(spec, wanted);
}

#[test]
fn names_of_processes_say_whose_they_are() {
    for isolation in [Isolation::User, Isolation::Directory] {
        let member = Member::new(&check(), isolation, 3);
        let (handle, found) = Member::of_process(&format!("{}resource", member.prefix)).unwrap();
        assert_eq!(handle, check().handle);
        assert_eq!((found.prefix, found.user), (member.prefix, member.user));
    }
    for strange in ["resource", "x/b7/resource", "7/resource"] {
        assert_eq!(Member::of_process(strange), None, "{strange}");
    }
}
