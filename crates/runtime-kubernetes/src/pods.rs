//! Pods as the people who watch a build see them. Pure.

use jb_model::{ContainerHandle, Timestamp};
use jb_runtime::pods::{PodContainer, PodInfo};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::failure::{Standing, standing};
use crate::names;
use crate::table::{handle_of, is_meant};

/// Whether a pod is a step's of a build.
pub(crate) fn is_of_build(pod: &Pod, build: &str) -> bool {
    annotation(pod, names::BUILD_ID) == build
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> &'a str {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(name)).map(String::as_str).unwrap_or_default()
}

pub(crate) fn info(pod: &Pod) -> PodInfo {
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let (reason, message) = why(pod, status);
    let containers = containers(pod, status);
    let ended = containers.iter().map(|container| container.finished_at);
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    PodInfo {
        name: pod.metadata.name.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        handle: handle_of(pod).map(ContainerHandle::new),
        kind: names::kind_of(pod).to_owned(),
        step: annotation(pod, names::STEP).to_owned(),
        attempt: annotation(pod, names::ATTEMPT).to_owned(),
        phase: phase(pod).to_owned(),
        reason,
        message,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        created_at: time(pod.metadata.creation_timestamp.as_ref()),
        scheduled_at: condition(status, "PodScheduled"),
        started_at: time(status.start_time.as_ref()),
        ready_at: condition(status, "Ready"),
        finished_at: ended.flatten().max().filter(|_| is_over),
        containers,
    }
}

/// As kubectl shows it, but for what goes wrong on the way.
pub(crate) fn phase(pod: &Pod) -> &str {
    if !is_meant(pod) {
        return "Terminating";
    }
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| Timestamp(time.0.as_microsecond()))
}

/// Since when a condition holds.
fn condition(status: &PodStatus, name: &str) -> Option<Timestamp> {
    let mut all = status.conditions.iter().flatten();
    let found = all.find(|condition| condition.type_ == name && condition.status == "True")?;
    time(found.last_transition_time.as_ref())
}

/// The cluster's own words for the pod, else why it has no node.
fn why(pod: &Pod, status: &PodStatus) -> (String, String) {
    let own = |text: &Option<String>| text.clone().unwrap_or_default();
    if status.reason.is_some() {
        return (own(&status.reason), own(&status.message));
    }
    let mut conditions = status.conditions.iter().flatten();
    let unplaced = conditions.find(|it| it.type_ == "PodScheduled" && it.status == "False");
    if let (Some(unplaced), Standing::Waiting(_)) = (unplaced, standing(pod)) {
        return (own(&unplaced.reason), own(&unplaced.message));
    }
    (String::new(), own(&status.message))
}

fn containers(pod: &Pod, status: &PodStatus) -> Vec<PodContainer> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| (container, true));
    let statuses: Vec<&ContainerStatus> =
        [&status.init_container_statuses, &status.container_statuses]
            .into_iter()
            .flatten()
            .flatten()
            .collect();
    let all = init.chain(spec.containers.iter().map(|container| (container, false)));
    let all = all.map(|(container, init)| {
        let status = statuses.iter().find(|status| status.name == container.name);
        let seen = PodContainer {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            init,
            state: "waiting",
            restarts: status
                .and_then(|it| u32::try_from(it.restart_count).ok())
                .unwrap_or_default(),
            ..PodContainer::default()
        };
        match status.and_then(|status| status.state.as_ref()) {
            Some(state) => with_state(seen, state),
            None => seen,
        }
    });
    all.collect()
}

fn with_state(seen: PodContainer, state: &ContainerState) -> PodContainer {
    let own = |text: &Option<String>| text.clone().unwrap_or_default();
    match state {
        ContainerState { terminated: Some(ended), .. } => {
            let ContainerStateTerminated { reason, message, exit_code, .. } = ended;
            PodContainer {
                state: "terminated",
                reason: own(reason),
                message: own(message),
                exit_code: Some(*exit_code),
                started_at: time(ended.started_at.as_ref()),
                finished_at: time(ended.finished_at.as_ref()),
                ..seen
            }
        }
        ContainerState { running: Some(running), .. } => {
            PodContainer { state: "running", started_at: time(running.started_at.as_ref()), ..seen }
        }
        ContainerState { waiting: Some(waiting), .. } => {
            PodContainer { reason: own(&waiting.reason), message: own(&waiting.message), ..seen }
        }
        _ => seen,
    }
}

#[cfg(test)]
mod tests;
