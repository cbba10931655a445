#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv4Addr;

use jb_model::config::ContainerLimits;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::{
    ContainerKind, ContainerSpec, Coordinates, Image, Link, Mount, MountSource, Network, User,
};
use k8s_openapi::api::core::v1::{EnvVar, HostPathVolumeSource, LocalObjectReference};
use proptest::prelude::*;

use super::*;
use crate::pod::tests::{ALL, image, settings, task, with_objects};
use crate::pod::{Found, ImageInput, PodImage, artifacts, step};
use crate::probe::Features;

fn any_source() -> impl Strategy<Value = MountSource> {
    let volume = || "[a-z0-9./-]{1,20}".prop_map(VolumeHandle::new);
    prop_oneof![
        (volume(), proptest::option::of(volume()))
            .prop_map(|(volume, copy)| MountSource::Input { volume, copy }),
        volume().prop_map(MountSource::Output),
        volume().prop_map(MountSource::Cache),
        (volume(), "[a-z.]{1,9}", any::<bool>()).prop_map(|(volume, socket, serves)| {
            MountSource::Link(Link { volume, socket, serves })
        }),
    ]
}

fn any_kind() -> impl Strategy<Value = ContainerKind> {
    prop_oneof![
        Just(ContainerKind::Check),
        Just(ContainerKind::Get),
        Just(ContainerKind::Put),
        Just(ContainerKind::Task),
        Just(ContainerKind::Run),
        Just(ContainerKind::Agent),
        Just(ContainerKind::Gateway),
        Just(ContainerKind::Mcp),
    ]
}

fn any_user() -> impl Strategy<Value = User> {
    prop_oneof![
        Just(User::Image),
        prop_oneof!["root", "0", "node", "[0-9]{1,6}", "[0-9]{1,4}:[0-9]{1,4}", ".{0,10}"]
            .prop_map(User::Named),
    ]
}

prop_compose! {
    fn any_spec()(
        handle in ".{1,30}",
        kind in any_kind(),
        hostname in ".{0,80}",
        working_dir in "(/[a-z.]{0,5}){0,4}",
        mounts in proptest::collection::vec(("(/|)[a-z./]{0,12}", any_source()), 0..6),
        limits in (proptest::option::of(any::<u64>()), proptest::option::of(any::<u64>())),
        privileged in any::<bool>(),
        hermetic in any::<bool>(),
        user in any_user(),
        words in proptest::collection::vec(".{0,80}", 7),
    ) -> ContainerSpec {
        let word = |n: usize| words[n].clone();
        ContainerSpec {
            handle: ContainerHandle::new(handle),
            kind,
            image: Image::Host,
            hostname,
            working_dir,
            mounts: mounts.into_iter().map(|(path, source)| Mount { path, source }).collect(),
            limits: ContainerLimits { cpu_shares: limits.0, memory_bytes: limits.1 },
            privileged,
            network: if hermetic { Network::Hermetic } else { Network::Outbound },
            user,
            source: None,
            coordinates: Coordinates {
                team: word(0),
                pipeline: word(1),
                job: word(2),
                build: word(3),
                build_id: word(4),
                step: word(5),
                attempt: word(6),
            },
        }
    }
}

fn any_settings() -> impl Strategy<Value = (Settings, Features)> {
    let level = prop_oneof![
        Just(PodSecurity::Restricted),
        Just(PodSecurity::Baseline),
        Just(PodSecurity::Privileged),
    ];
    (level, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(pod_security, caches, same, image_volumes, user_namespaces)| {
            let mut settings = Settings { pod_security, ..settings() };
            settings.cache_claim = caches.then(|| "caches".to_owned());
            if same {
                settings.cache_claim = settings.artifact_claim().map(str::to_owned);
            }
            (settings, Features { image_volumes, user_namespaces })
        },
    )
}

fn any_image() -> impl Strategy<Value = PodImage> {
    let user = proptest::option::of(prop_oneof!["", "root", "node", "1000", ".{0,8}"]);
    let resource = proptest::option::of(Just("/opt/resources/git".to_owned()));
    let root = proptest::option::of(Just(VolumeHandle::new("root")));
    (user, resource, root).prop_map(|(user, resource, root)| PodImage {
        reference: "image".into(),
        user,
        resource,
        root,
        pull_secret: None,
    })
}

fn keeps(spec: &ContainerSpec, image: &PodImage, settings: &Settings, features: Features) {
    // What the cluster cannot do is refused with words; what it is asked for keeps to the rules.
    // Every other input is an image.
    let volumes = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Input { volume, .. } => {
            let pull_secret = Some(crate::names::pull_secret(&settings.worker_name, volume));
            Some((volume.clone(), ImageInput { reference: "image".to_owned(), pull_secret }))
        }
        _ => None,
    });
    let peers = crate::pod::link::of(spec);
    let peers = peers.map(|link| (link.volume.clone(), Ipv4Addr::LOCALHOST.into())).collect();
    let found = Found { images: volumes.step_by(2).collect(), peers };
    if let Ok(pod) = step(spec, image, &found, settings, features) {
        assert_eq!(violations(&pod, settings), [""; 0], "{spec:?}");
    }
}

proptest! {
    #[test]
    fn no_pod_breaks_the_rules(
        spec in any_spec(), image in any_image(), (settings, features) in any_settings(),
    ) {
        keeps(&spec, &image, &settings, features);
    }
}

/// The same for as many as `PROPTEST_CASES` says, a million by default: some minutes.
#[test]
#[ignore = "takes minutes"]
fn no_pod_of_a_million_breaks_the_rules() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = ProptestConfig { cases: cases.unwrap_or(1_000_000), ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let ran = runner.run(&(any_spec(), any_image(), any_settings()), |(spec, image, place)| {
        keeps(&spec, &image, &place.0, place.1);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn what_is_not_expected_is_found() {
    let settings = settings();
    let good = step(&task(), &image(), &Found::default(), &settings, ALL).unwrap();
    assert_eq!(violations(&good, &settings), [""; 0]);
    assert_eq!(violations(&artifacts("a", &settings, ALL), &settings), [""; 0]);
    let objects = with_objects();
    assert_eq!(violations(&artifacts("a", &objects, ALL), &objects), [""; 0]);
    let pod = step(&task(), &image(), &Found::default(), &objects, ALL).unwrap();
    assert_eq!(violations(&pod, &objects), [""; 0]);
    type Change = fn(&mut PodSpec);
    let bad: [(&str, Change); 12] = [
        ("secret", |spec| {
            let name = "jetbridge".to_owned();
            spec.image_pull_secrets = Some(vec![LocalObjectReference { name }]);
        }),
        ("token", |spec| spec.automount_service_account_token = None),
        ("deadline", |spec| spec.active_deadline_seconds = None),
        ("users", |spec| spec.host_users = Some(true)),
        ("not expected", |spec| spec.host_network = Some(true)),
        ("not expected", |spec| spec.node_name = Some("n".into())),
        ("kind", |spec| {
            let volume = &mut spec.volumes.as_mut().unwrap()[0];
            volume.host_path = Some(HostPathVolumeSource { path: "/".into(), type_: None });
        }),
        ("somebody else's", |spec| {
            for volume in spec.volumes.iter_mut().flatten() {
                if let Some(claim) = &mut volume.persistent_volume_claim {
                    claim.claim_name = "other".into();
                }
            }
        }),
        ("not expected", |spec| {
            let env = EnvVar { name: "SECRET".into(), ..EnvVar::default() };
            spec.containers[0].env = Some(vec![env]);
        }),
        ("privileged", |spec| {
            spec.containers[0].security_context.as_mut().unwrap().privileged = Some(true);
        }),
        ("keeps capabilities", |spec| {
            spec.containers[0].security_context.as_mut().unwrap().capabilities = None;
        }),
        ("sees a claim", |spec| {
            for mount in spec.containers[0].volume_mounts.iter_mut().flatten() {
                mount.sub_path = None;
            }
        }),
    ];
    for (word, change) in bad {
        let mut pod = good.clone();
        change(pod.spec.as_mut().unwrap());
        let found = violations(&pod, &settings).join("; ");
        assert!(found.contains(word), "{word}: {found}");
    }
}
