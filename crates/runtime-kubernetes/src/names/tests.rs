#![allow(clippy::unwrap_used, reason = "tests")]

use jb_runtime::{ContainerKind, Image, Network, User};
use proptest::prelude::*;

use super::*;

fn spec(pipeline: &str, job: &str, build: &str, handle: &str) -> ContainerSpec {
    ContainerSpec {
        handle: ContainerHandle::new(handle),
        kind: ContainerKind::Task,
        image: Image::Host,
        hostname: "h".into(),
        working_dir: "/tmp".into(),
        mounts: Vec::new(),
        limits: Default::default(),
        privileged: false,
        network: Network::Outbound,
        user: User::Image,
        source: None,
        coordinates: Coordinates {
            pipeline: pipeline.into(),
            job: job.into(),
            build: build.into(),
            ..Coordinates::default()
        },
    }
}

#[test]
fn names_say_where_a_pod_belongs() {
    assert_eq!(pod_name(&spec("app", "unit", "12", "h")), "app-unit-b12-task-aaa94026");
    assert_eq!(pod_name(&spec("", "", "3", "h")), "b3-task-aaa94026");
    assert_eq!(pod_name(&spec("My App", "é_x.", "1.2", "h")), "my-app-x-b1-2-task-aaa94026");
    let long = pod_name(&spec(&"p".repeat(80), "job", "1", "h"));
    assert_eq!((long.len(), long.ends_with("-job-b1-task-aaa94026")), (63, true), "{long}");
}

fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && !name.is_empty()
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

proptest! {
    #[test]
    fn names_and_labels_are_what_a_cluster_takes(
        pipeline in ".{0,90}", job in ".{0,90}", build in ".{0,90}", handle in ".{1,40}",
    ) {
        let spec = spec(&pipeline, &job, &build, &handle);
        let name = pod_name(&spec);
        prop_assert!(is_dns_label(&name), "{name}");
        prop_assert!(is_dns_label(&host_name(&pipeline)));
        prop_assert!(is_dns_label(&of_worker(&job, "pull")));
        prop_assert!(is_dns_label(&of_artifacts(&job, &handle)));
        for value in labels(&spec, &job, "task").values() {
            let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
            prop_assert!(value.len() <= 63, "{value}");
            prop_assert!(edge(value.chars().next()) && edge(value.chars().last()), "{value}");
        }
    }
}
