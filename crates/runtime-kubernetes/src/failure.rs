//! What conditions of pods and answers of the API server mean: one table for both.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use crate::pod::{MAIN, PREPARE};

/// What to do about an answer of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Ask again after a while: the server is busy or away.
    Busy,
    /// As [`Self::Busy`], but others have to make room first.
    Full,
    Missing,
    Exists,
    /// This server's account may not do that.
    Forbidden,
    /// The namespace is being deleted.
    Ending,
    Refused,
}

/// By HTTP status and the message that came with it.
pub(crate) fn answer(code: u16, message: &str) -> Answer {
    match code {
        403 if message.contains("exceeded quota") => Answer::Full,
        // The namespace is new and its quota or service account is not there yet.
        403 if message.contains("status unknown for quota")
            || message.contains("error looking up service account") =>
        {
            Answer::Busy
        }
        403 if message.contains("because it is being terminated") => Answer::Ending,
        401 | 403 => Answer::Forbidden,
        404 => Answer::Missing,
        409 if message.contains("already exists") || message.contains("is being deleted") => {
            Answer::Exists
        }
        // Conflicts of versions, lists that are too old, too many requests, and what a server says that is not well.
        409 | 410 | 429 | 500..=599 => Answer::Busy,
        _ => Answer::Refused,
    }
}

pub(crate) fn answer_of(error: &kube::Error) -> Answer {
    match error {
        kube::Error::Api(status) => answer(status.code, &status.message),
        kube::Error::SerdeError(_)
        | kube::Error::BuildRequest(_)
        | kube::Error::InferConfig(_)
        | kube::Error::Auth(_) => Answer::Refused,
        // Connections that cannot be made or break.
        _ => Answer::Busy,
    }
}

/// How a pod that shall run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Why it does not run yet, as far as the cluster says.
    Waiting(String),
    /// The kubelet is at work on it: the runner may answer at any moment, whatever the status says.
    Placed,
    /// It never will run, or does not any more.
    Over(Problem),
}

/// Why a pod is of no use, in words for a build's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Image(String),
    /// An input is not there (any more).
    NoVolume(String),
    Other(String),
}

/// Reads a pod's status.
pub(crate) fn standing(pod: &Pod) -> Standing {
    let Some(status) = &pod.status else { return Standing::Waiting(String::new()) };
    if let Some(problem) = ended(pod, status) {
        return Standing::Over(problem);
    }
    let init = status.init_container_statuses.iter().flatten();
    for container in init.chain(status.container_statuses.iter().flatten()) {
        if let Some(problem) = stuck(container) {
            return Standing::Over(problem);
        }
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if node.is_some_and(|node| !node.is_empty()) { Standing::Placed } else { unplaced(status) }
}

fn ended(pod: &Pod, status: &PodStatus) -> Option<Problem> {
    let (reason, message) = (
        status.reason.as_deref().unwrap_or_default(),
        status.message.as_deref().unwrap_or_default(),
    );
    let other = |text: String| Some(Problem::Other(text));
    let node = node_of(pod);
    match reason {
        "Evicted" => return other(format!("the pod was evicted from node {node}: {message}")),
        "NodeLost" => return other(format!("node {node} was lost: {message}")),
        "DeadlineExceeded" => {
            let deadline = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
            let deadline = deadline.unwrap_or_default();
            return other(format!(
                "the pod lived longer than the {deadline} seconds that pods may (--kubernetes-pod-deadline)"
            ));
        }
        "UnexpectedAdmissionError" | "OutOfcpu" | "OutOfmemory" | "OutOfpods" | "NodeAffinity" => {
            return other(format!("node {node} refused the pod: {reason}: {message}"));
        }
        _ => {}
    }
    let init = status.init_container_statuses.iter().flatten();
    let containers = status.container_statuses.iter().flatten();
    let ended = init.chain(containers).find_map(|container| terminated(pod, container));
    if (ended.is_some() || reason == "Terminated")
        && let Some(why) = lost(pod)
    {
        return other(why);
    }
    if ended.is_some() {
        return ended;
    }
    match status.phase.as_deref() {
        Some("Failed" | "Succeeded") => other(format!("the pod ended: {reason} {message}")),
        _ => None,
    }
}

/// Why the cluster itself ends a pod, once it has decided to.
pub(crate) fn lost(pod: &Pod) -> Option<String> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let target = conditions.find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
    let reason = target.reason.as_deref().unwrap_or_default();
    let why = match reason {
        "PreemptionByScheduler" => "its place was given to a pod of higher priority",
        "DeletionByTaintManager" => "its node does not answer or takes no pods any more",
        "EvictionByEvictionAPI" => "it was evicted to empty its node",
        "TerminationByKubelet" => "its node needed what it used",
        _ => "it was stopped by the cluster",
    };
    let detail = target.message.as_deref().unwrap_or_default();
    Some(format!("the pod was lost: {why} ({reason} on node {}): {detail}", node_of(pod)))
}

/// Whether a runner could not be reached because its node's kubelet is not there, or does not answer, in the API
/// server's words.
pub(crate) fn is_of_node(why: &str) -> bool {
    why.contains("error dialing backend")
}

/// What to say of a pod whose runner did not answer when it was asked.
pub(crate) fn unreachable(pod: &Pod, why: &str) -> String {
    let node = node_of(pod);
    if is_of_node(why) {
        return format!("node {node} does not answer: {why}");
    }
    format!("the runner on node {node} cannot be reached: {why}")
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("unknown")
}

/// What an ended container means for its pod; init containers are meant to end well.
fn terminated(pod: &Pod, container: &ContainerStatus) -> Option<Problem> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    let name = container.name.as_str();
    if name != MAIN && ended.exit_code == 0 {
        return None;
    }
    let message = ended.message.as_deref().unwrap_or_default().trim();
    let reason = ended.reason.as_deref().unwrap_or_default();
    if name == PREPARE && ended.exit_code == i32::from(jb_artifacts::command::NO_VOLUME) {
        let volume = message.split('`').nth(1).unwrap_or_default();
        return Some(Problem::NoVolume(volume.to_owned()));
    }
    let other = |text| Some(Problem::Other(text));
    if reason == "OOMKilled" {
        let limit = memory_limit(pod, name).map_or_else(
            || "memory: it has no limit of its own, so its node had none left".to_owned(),
            |limit| format!("its memory limit of {limit} bytes"),
        );
        return other(format!("container `{name}` was killed because it reached {limit}"));
    }
    if reason == "StartError" || reason == "ContainerCannotRun" {
        return other(format!("container `{name}` cannot be started: {message}"));
    }
    let code = ended.exit_code;
    other(format!("container `{name}` ended with status {code} ({reason}): {message}"))
}

fn memory_limit(pod: &Pod, name: &str) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let container = containers.iter().find(|container| container.name == name)?;
    Some(container.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

/// A container that waits for what will not come about.
fn stuck(container: &ContainerStatus) -> Option<Problem> {
    let Some(ContainerState { waiting: Some(waiting), .. }) = &container.state else { return None };
    let message = waiting.message.as_deref().unwrap_or_default();
    let image = &container.image;
    let reason = waiting.reason.as_deref()?;
    match reason {
        // The kubelet has tried before it backs off. What may pass is tried again until the start's time is over.
        "ImagePullBackOff" | "ErrImagePull" if is_final(message) => {
            Some(Problem::Image(format!("image `{image}` cannot be pulled: {message}")))
        }
        "InvalidImageName" => {
            Some(Problem::Image(format!("`{image}` is no name of an image: {message}")))
        }
        "ErrImageNeverPull" => Some(Problem::Image(format!(
            "image `{image}` is not on the node, and pulling it is forbidden: {message}"
        ))),
        "CreateContainerConfigError" => {
            let name = &container.name;
            let text = format!("container `{name}` cannot be made: {message}");
            Some(if message.contains("run as root") || message.contains("runAsNonRoot") {
                Problem::Image(format!(
                    "{text}; the image wants to be root, which the namespace forbids"
                ))
            } else {
                Problem::Other(text)
            })
        }
        _ => None,
    }
}

/// Whether pulling again would end the same.
fn is_final(message: &str) -> bool {
    const FINAL: [&str; 8] = [
        "not found",
        "unauthorized",
        "authorization failed",
        "denied",
        "403 Forbidden",
        "401 Unauthorized",
        "no match for platform",
        "does not exist",
    ];
    FINAL.iter().any(|text| message.contains(text))
}

fn unplaced(status: &PodStatus) -> Standing {
    let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled");
    let why = scheduled.filter(|condition| condition.status == "False");
    let why = why.and_then(|condition| condition.message.as_deref()).unwrap_or_default();
    Standing::Waiting(why.to_owned())
}

/// What keeps a pod that is not [`Standing::Over`] from starting, if it is anything out of the ordinary.
pub(crate) fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    if node.is_empty() {
        return match unplaced(status) {
            Standing::Waiting(why) if !why.is_empty() => Some(format!("no node takes it: {why}")),
            _ => None,
        };
    }
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let message = waiting.message.as_deref().unwrap_or_default();
        match waiting.reason.as_deref().unwrap_or_default() {
            "" | "PodInitializing" | "ContainerCreating" => None,
            "ErrImagePull" | "ImagePullBackOff" => Some(unpulled(&container.image, node, message)),
            reason => {
                let name = &container.name;
                Some(format!("container `{name}` on node {node}: {reason}: {message}"))
            }
        }
    })
}

/// The kubelet tells in turn why it could not pull and that it will not try for a while.
fn unpulled(image: &str, node: &str, message: &str) -> String {
    let cause = match message.strip_prefix("Back-off pulling image ") {
        Some(rest) => rest.split_once("ErrImagePull: ").map_or("", |(_, cause)| cause),
        None => message,
    };
    let text = format!("node {node} cannot pull image `{image}` yet");
    if cause.is_empty() { text } else { format!("{text}: {cause}") }
}

/// What a pod waits for, for the end of waiting.
pub(crate) fn waiting_for(pod: &Pod) -> String {
    if let Some(obstacle) = obstacle(pod) {
        return obstacle;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    match (&pod.status, node) {
        (None, _) => "the cluster has said nothing of it".to_owned(),
        (Some(_), "") => "it has no node yet".to_owned(),
        (Some(_), node) => format!("its runner on node {node} does not answer"),
    }
}

#[cfg(test)]
mod tests;
